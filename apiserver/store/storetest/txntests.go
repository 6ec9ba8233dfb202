package storetest

import (
	"errors"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/store"
)

func testLifecycle(t *testing.T, backend store.Backend) {
	s := Start(t, backend)
	ref := mapRef("shop", "web")
	created := write(t, s, Put(ConfigMap("shop", "web", "1"), 0))
	e := s.Snapshot().Entry(ref)
	if e == nil || e != created.Entries[0] {
		t.Fatalf("after create the snapshot has %v, Txn returned %v; want one entry", e, created.Entries[0])
	}
	if e.Revision != created.Revision || e.Object.GetResourceVersion() != strconv.FormatInt(created.Revision, 10) {
		t.Errorf("entry at %d with resourceVersion %s, want both %d", e.Revision, e.Object.GetResourceVersion(), created.Revision)
	}
	before := s.Snapshot()
	updated := write(t, s, Put(ConfigMap("shop", "web", "2"), created.Revision))
	if updated.Revision <= created.Revision {
		t.Errorf("update at %d, not after create at %d", updated.Revision, created.Revision)
	}
	if before.Entry(ref) != e {
		t.Error("the older snapshot has changed")
	}
	write(t, s, store.Write{Ref: ref, Expect: updated.Revision})
	if _, ok := s.Snapshot().Get(ref); ok || s.Snapshot().Count(ConfigMaps) != 0 {
		t.Error("the object is there after its removal")
	}
}

func testConflict(t *testing.T, backend store.Backend) {
	s := Start(t, backend)
	d := write(t, s, Put(ConfigMap("shop", "web", "1"), 0))
	for _, test := range []struct {
		name   string
		writes []store.Write
	}{
		{"create of what exists", []store.Write{Put(ConfigMap("shop", "web", "x"), 0)}},
		{"update of an older state", []store.Write{Put(ConfigMap("shop", "web", "x"), d.Revision-1)}},
		{"removal of an older state", []store.Write{{Ref: mapRef("shop", "web"), Expect: d.Revision - 1}}},
		{"one of two", []store.Write{Put(ConfigMap("shop", "new", "x"), 0), Put(ConfigMap("shop", "web", "x"), 0)}},
	} {
		_, err := s.Txn(t.Context(), store.Txn{Writes: test.writes})
		var conflict *txn.ConflictError
		if !errors.As(err, &conflict) {
			t.Errorf("%s: %v, want a conflict", test.name, err)
			continue
		}
		if diff := cmp.Diff([]txn.Ref{mapRef("shop", "web")}, conflict.Refs); diff != "" {
			t.Errorf("%s: changed keys (-want +got):\n%s", test.name, diff)
		}
	}
	if s.Snapshot().Count(ConfigMaps) != 1 {
		t.Error("a refused transaction has written")
	}
}

func testCompares(t *testing.T, backend store.Backend) {
	s := Start(t, backend)
	d := write(t, s, Put(ConfigMap("shop", "quota", "1"), 0))
	ok := store.Txn{Writes: []store.Write{Put(ConfigMap("shop", "a", ""), 0)}, Compares: []txn.Compare{{Ref: mapRef("shop", "quota"), Revision: d.Revision}, {Ref: mapRef("shop", "none")}}}
	if _, err := s.Txn(t.Context(), ok); err != nil {
		t.Fatalf("compares that hold: %v", err)
	}
	write(t, s, Put(ConfigMap("shop", "quota", "2"), d.Revision))
	ok.Writes = []store.Write{Put(ConfigMap("shop", "b", ""), 0)}
	_, err := s.Txn(t.Context(), ok)
	var conflict *txn.ConflictError
	if !errors.As(err, &conflict) || !cmp.Equal(conflict.Refs, []txn.Ref{mapRef("shop", "quota")}) {
		t.Errorf("a compare that does not hold: %v, want a conflict about the quota", err)
	}
}

func testIndependent(t *testing.T, backend store.Backend) {
	s := Start(t, backend)
	d := write(t, s, Put(Pod("shop", "a", ""), 0))
	write(t, s, Put(Pod("shop", "b", ""), 0))
	c := write(t, s, Put(Pod("shop", "c", ""), 0))
	done, err := s.Txn(t.Context(), store.Txn{Independent: true, Writes: []store.Write{
		Put(Pod("shop", "a", "n1"), d.Revision),
		Put(Pod("shop", "b", "n1"), d.Revision), // not its revision
		Put(Pod("shop", "c", "n2"), c.Revision),
	}})
	if err != nil {
		t.Fatalf("independent: %v", err)
	}
	if diff := cmp.Diff([]bool{false, true, false}, done.Lost); diff != "" {
		t.Errorf("lost (-want +got):\n%s", diff)
	}
	if done.Entries[0].Revision != done.Revision || done.Entries[1] != nil || done.Entries[2].Revision != done.Revision {
		t.Errorf("entries %v, want the first and the last at %d", done.Entries, done.Revision)
	}
}

func testEpoch(t *testing.T, backend store.Backend) {
	s, other := Start(t, backend), Start(t, backend)
	old, err := s.Acquire(t.Context(), "kube-scheduler")
	if err != nil {
		t.Fatalf("acquire: %v", err)
	}
	leading := func(s *store.Store, e txn.Epoch, name string) error {
		_, err := s.Txn(t.Context(), store.Txn{Epoch: e, Writes: []store.Write{Put(ConfigMap("shop", name, ""), 0)}})
		return err
	}
	if err := leading(s, old, "a"); err != nil {
		t.Errorf("write in the epoch: %v", err)
	}
	next, err := other.Acquire(t.Context(), "kube-scheduler")
	if err != nil || next.Number != old.Number+1 {
		t.Fatalf("second acquire: %v, %v; want number %d", next, err, old.Number+1)
	}
	if err := leading(s, old, "b"); !errors.Is(err, txn.ErrEpoch) {
		t.Errorf("create of the old leader: %v, want %v", err, txn.ErrEpoch)
	}
	if err := leading(s, txn.Epoch{Name: "never-acquired", Number: 1}, "b"); !errors.Is(err, txn.ErrEpoch) {
		t.Errorf("epoch that nobody acquired: %v, want %v", err, txn.ErrEpoch)
	}
	if err := leading(other, next, "b"); err != nil {
		t.Errorf("write of the new leader: %v", err)
	}
	if err := leading(other, next, "b"); !txn.IsConflict(err) {
		t.Errorf("conflict within the epoch: %v, want a conflict", err)
	}
}

func testNotes(t *testing.T, backend store.Backend) {
	s := Start(t, backend)
	put := func(notes ...txn.Note) {
		t.Helper()
		if _, err := s.Txn(t.Context(), store.Txn{Notes: notes}); err != nil {
			t.Fatalf("write notes: %v", err)
		}
	}
	put(txn.Note{Key: "inventory/main", Value: []byte("1")}, txn.Note{Key: "inventory/dev", Value: []byte("2")}, txn.Note{Key: "drift/x", Value: []byte("3")})
	put(txn.Note{Key: "inventory/dev"})
	got, err := s.Notes(t.Context(), "inventory/")
	if err != nil {
		t.Fatalf("notes: %v", err)
	}
	if diff := cmp.Diff([]txn.Note{{Key: "inventory/main", Value: []byte("1")}}, got); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
	if all, err := s.Notes(t.Context(), ""); err != nil || len(all) != 2 {
		t.Errorf("all notes: %v, %v; want two", all, err)
	}
}

func testTxnRefusals(t *testing.T, backend store.Backend) {
	s := Start(t, backend)
	for name, tx := range map[string]store.Txn{
		"an object twice":     {Writes: []store.Write{Put(ConfigMap("a", "b", ""), 0), Put(ConfigMap("a", "b", ""), 0)}},
		"a note twice":        {Notes: []txn.Note{{Key: "a"}, {Key: "a"}}},
		"a note without key":  {Notes: []txn.Note{{}}},
		"unknown resource":    {Writes: []store.Write{{Ref: txn.Ref{Name: "x"}}}},
		"a slash in a name":   {Writes: []store.Write{Put(ConfigMap("a", "b/c", ""), 0)}},
		"a missing namespace": {Writes: []store.Write{Put(ConfigMap("", "b", ""), 0)}},
	} {
		if _, err := s.Txn(t.Context(), tx); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
