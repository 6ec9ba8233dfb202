package write_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headway-sh/headway/api/txn"
)

// TestObserversSeeWhatOtherServersWrite gives a shared path what the store's
// watch would bring: own writes come once, the past not at all, and what was
// missed is told.
func TestObserversSeeWhatOtherServersWrite(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.path.Shared()
	w.must(create(configMap("before")))
	past := w.store.Latest().Revision()
	var seen []int64
	stop := w.path.Observe(func(o txn.Write) { seen = append(seen, o.Revision) })
	w.path.Foreign(txn.Write{Revision: past})
	w.must(create(configMap("mine")))
	mine := w.store.Latest().Revision()
	w.path.Foreign(txn.Write{Revision: mine})
	w.path.Foreign(txn.Write{Revision: mine + 1})
	w.path.Missed()
	w.path.Foreign(txn.Write{Revision: mine + 2})
	w.path.Foreign(txn.Write{Revision: mine + 2}) // two objects of one commit
	stop()
	if diff := cmp.Diff([]int64{mine, mine + 1, 0, mine + 2, mine + 2}, seen); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
