package gitsource_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
)

// TestMovesNeverDelete: objects go to and fro between three sources, with
// restarts and suspended sources in between; none of them is ever deleted, and
// in the end each belongs to the source that has it.
func TestMovesNeverDelete(t *testing.T) {
	const objects, commits = 6, 8
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	c := newCluster(t, t.TempDir())
	defer func() { c.stop() }()
	sources := []string{"a", "b", "c"}
	file := func(source string, n int) string { return fmt.Sprintf("%s/o%d.yaml", source, n) }
	at := make([]string, objects)
	for _, source := range sources {
		c.follow(source, func(o *v1alpha1.GitSource) { o.Spec.Paths = []string{source} })
		c.write(source+"/own.yaml", configMap("own-"+source, "x"))
	}
	for n := range at {
		at[n] = sources[random.IntN(len(sources))]
		c.write(file(at[n], n), configMap(fmt.Sprintf("o%d", n), "first"))
	}
	c.run()
	head := c.push("first")
	for _, source := range sources {
		c.phase(source, head, v1alpha1.ReleaseHealthy)
	}
	uids := map[string]types.UID{}
	name := func(n int) txn.Ref { return ref("configmaps", fmt.Sprintf("default/o%d", n)) }
	for n := range at {
		uids[name(n).Name] = c.get(name(n)).GetUID()
	}
	suspend := func(source, value string) {
		c.do(admin, txn.Change{
			Verb: txn.Patch, Ref: txn.Ref{Resource: v1alpha1.Resource("gitsources"), Name: source},
			Patch: []byte(`{"spec":{"suspend":` + value + `}}`), PatchType: types.MergePatchType,
		})
	}
	for i := range commits {
		asleep := sources[random.IntN(len(sources))]
		suspend(asleep, `{"reason":"test"}`)
		for range 1 + random.IntN(2) {
			for n := range at {
				if random.IntN(2) == 0 {
					continue
				}
				if err := os.Remove(filepath.Join(c.work(), file(at[n], n))); err != nil {
					t.Fatal(err)
				}
				at[n] = sources[random.IntN(len(sources))]
				c.write(file(at[n], n), configMap(fmt.Sprintf("o%d", n), fmt.Sprintf("v%d", i)))
			}
			head = c.push(fmt.Sprint("commit ", i))
		}
		if random.IntN(3) == 0 {
			c.stop()
			c.run()
		}
		suspend(asleep, "null")
		for _, source := range sources {
			c.eventually(source, func() string {
				if got := c.source(source).Status.AppliedCommit; got != head {
					return fmt.Sprintf("is at %s, want %s: %v", got, head, c.source(source).Status.Problems)
				}
				return ""
			})
		}
		for n := range at {
			c.eventually(name(n).String(), func() string {
				o := c.get(name(n))
				switch {
				case o == nil || o.GetUID() != uids[o.GetName()]:
					t.Fatalf("%s was deleted, in commit %d", name(n), i)
				case !slices.Equal(managers(o), []string{"headway:" + at[n]}):
					return fmt.Sprintf("fields are of %v, want %s", managers(o), at[n])
				}
				return ""
			})
		}
	}
}

func managers(o txn.Object) []string {
	var out []string
	for _, f := range o.GetManagedFields() {
		out = append(out, f.Manager)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
