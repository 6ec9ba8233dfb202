package store_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headway-sh/headway/apiserver/etcd"
	"github.com/headway-sh/headway/apiserver/store"
	"github.com/headway-sh/headway/apiserver/store/storetest"
)

// A killed server has lost nothing that it had acknowledged, and no batch is
// there in part.
func TestKilledServerLosesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	acknowledged := map[string]string{} // name → revision
	for round := range 3 {
		c := spawn(t, etcd.Config{DataDir: filepath.Join(dir, "etcd")}).ready()
		// The child answers in order; the last requests are in flight when it
		// is killed.
		const requests, answers = 60, 45
		go func() {
			for i := range requests {
				c.send("put a-%d-%d b-%d-%d c-%d-%d", round, i, round, i, round, i)
			}
		}()
		for i := range answers {
			if !c.out.Scan() {
				t.Fatalf("the child ended: %v", c.out.Err())
			}
			revision, ok := strings.CutPrefix(c.out.Text(), "ok ")
			if !ok {
				t.Fatalf("write: %s", c.out.Text())
			}
			for _, letter := range []string{"a", "b", "c"} {
				acknowledged[fmt.Sprintf("%s-%d-%d", letter, round, i)] = revision
			}
		}
		c.kill()
	}
	s := storetest.Start(t, store.NewEtcd(member(t, dir).Client()))
	batches := map[int64]int{}
	for e := range s.Snapshot().Entries(storetest.ConfigMaps, "") {
		batches[e.Revision]++
		if want, ok := acknowledged[e.Ref.Name]; ok && want != fmt.Sprint(e.Revision) {
			t.Errorf("%s is at %d, acknowledged at %s", e.Ref.Name, e.Revision, want)
		}
		delete(acknowledged, e.Ref.Name)
	}
	for name, revision := range acknowledged {
		t.Errorf("%s, acknowledged at %s, is lost", name, revision)
	}
	for revision, n := range batches {
		if n != 3 {
			t.Errorf("the batch at %d has %d objects, want 3", revision, n)
		}
		if revision == s.Snapshot().Revision() {
			t.Errorf("the snapshot shows the batch's revision %d", revision)
		}
	}
}
