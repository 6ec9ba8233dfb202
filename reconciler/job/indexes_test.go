package job_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/headway-sh/headway/reconciler/job"
)

func TestIndexesAreWrittenAsKubernetesDoes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text  string
		limit int
		want  string
	}{
		{"", 9, ""},
		{"0", 9, "0"},
		{"0,1", 9, "0,1"},
		{"0-1", 9, "0,1"},
		{"1,3-5,7", 9, "1,3-5,7"},
		{"1,3-5,7", 5, "1,3,4"},
		{"1,3-5,7", 3, "1"},
		{"1,x,3", 9, "1"},
		{"5-2", 9, ""},
	} {
		if got := job.ParseForTests(c.text, c.limit).String(); got != c.want {
			t.Errorf("%q below %d: %q, want %q", c.text, c.limit, got, c.want)
		}
	}
}

func TestIndexesAreSets(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		some := rapid.SliceOf(rapid.IntRange(0, 30))
		a, b := some.Draw(t, "a"), some.Draw(t, "b")
		set, plain := job.WithForTests(nil, slices.Clone(a)...), map[int]bool{}
		set = job.WithForTests(set, slices.Clone(b)...)
		for _, i := range slices.Concat(a, b) {
			plain[i] = true
		}
		set = job.ParseForTests(set.String(), 31)
		var missing []int
		for i := range 31 {
			if job.HasForTests(set, i) != plain[i] {
				t.Fatalf("has %d: %v", i, !plain[i])
			}
			if !plain[i] {
				missing = append(missing, i)
			}
		}
		if job.TotalForTests(set) != len(plain) {
			t.Fatalf("total %d of %d", job.TotalForTests(set), len(plain))
		}
		n := rapid.IntRange(0, 31).Draw(t, "n")
		if diff := cmp.Diff(missing[:min(n, len(missing))], job.MissingForTests(set, n, 31), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("missing (-want +got):\n%s", diff)
		}
		both := 0
		for i := range maps.Keys(plain) {
			if slices.Contains(a, i) && slices.Contains(b, i) {
				both++
			}
		}
		if got := job.CommonForTests(job.WithForTests(nil, a...), job.WithForTests(nil, b...)); got != both {
			t.Fatalf("common %d, want %d", got, both)
		}
	})
}
