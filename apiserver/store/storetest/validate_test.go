package storetest

import (
	"errors"
	"testing"

	"github.com/headway-sh/headway/apiserver/store"
)

// The validator itself must find every breach.
func TestValidate(t *testing.T) {
	t.Parallel()
	facts := []fact{{2, "a", store.Added}, {3, "b", store.Added}, {3, "c", store.Added}, {5, "a", store.Modified}}
	batches := map[int64]bool{3: true}
	got := func(f ...fact) delivery { return delivery{facts: f} }
	for name, test := range map[string]struct {
		deliveries []delivery
		want       error
	}{
		"right":          {[]delivery{got(facts[0]), {bookmark: 2}, got(facts[1:]...), {bookmark: 6}}, nil},
		"resumed":        {[]delivery{got(facts[0]), {resumed: 2}, got(facts[1], facts[2]), {resumed: 3}, got(facts[1:]...)}, nil},
		"not replayed":   {[]delivery{got(facts[:3]...), {resumed: 3}, got(facts[3])}, errWatchGap},
		"replayed":       {[]delivery{got(facts[0]), {resumed: 2}, got(facts...)}, errWatchDuplicated},
		"reordered":      {[]delivery{got(facts[1], facts[2], facts[0])}, errWatchReordered},
		"gap":            {[]delivery{got(facts[0], facts[3])}, errWatchGap},
		"gap at the end": {[]delivery{got(facts[:3]...)}, errWatchGap},
		"duplicated":     {[]delivery{got(facts[:3]...), got(facts[1:]...)}, errWatchDuplicated},
		"invented":       {[]delivery{got(fact{4, "x", store.Added})}, errWatchInvented},
		"type":           {[]delivery{got(fact{2, "a", store.Modified})}, errWatchType},
		"split":          {[]delivery{got(facts[0], facts[1]), got(facts[2], facts[3])}, errBatchSplit},
		"bookmark early": {[]delivery{{bookmark: 4}, got(facts...)}, errBookmarkEarly},
		"bookmark batch": {[]delivery{got(facts[:3]...), {bookmark: 3}}, errBookmarkBatch},
	} {
		if err := validate(record{from: 1, deliveries: test.deliveries}, facts, batches); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}
