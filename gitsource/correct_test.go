package gitsource_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
)

// TestCorrectionOfSome: what the API server refuses for a while does not keep
// the rest from being put back, and comes back itself when it may.
func TestCorrectionOfSome(t *testing.T) {
	c := newCluster(t, t.TempDir())
	defer c.stop()
	c.follow("main", nil)
	c.write("ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: shop}\n")
	c.write("a.yaml", configMap("a", "one"))
	c.write("b.yaml", configMap("b", "one"))
	c.run()
	c.phase("main", c.push("first"), v1alpha1.ReleaseHealthy)
	var shut atomic.Bool
	shut.Store(true)
	c.store.Reject(func(id txn.Identity, change txn.Change) error {
		if shut.Load() && id.Name == self && change.Verb == txn.Apply && change.Ref.Name == "a" {
			return errors.New("not now")
		}
		return nil
	})
	jane := txn.Identity{Name: "jane"}
	for _, gone := range []txn.Ref{ref("configmaps", "default/a"), ref("configmaps", "default/b")} {
		c.do(jane, txn.Change{Verb: txn.Delete, Ref: gone})
	}
	want := func(want string) {
		t.Helper()
		c.eventually("values", func() string {
			c.clock.Step(time.Second)
			if got := c.values(); got != want {
				return fmt.Sprintf("%s, want %s", got, want)
			}
			return ""
		})
	}
	want("- one -")
	c.do(jane, txn.Change{Verb: txn.Delete, Ref: ref("configmaps", "shop/a")}, txn.Change{Verb: txn.Delete, Ref: ref("namespaces", "shop")})
	shut.Store(false)
	want("one one -")
	c.eventually("the namespace's content", func() string {
		c.clock.Step(time.Second)
		if c.get(ref("configmaps", "shop/a")) == nil {
			return "is gone"
		}
		return ""
	})
}
