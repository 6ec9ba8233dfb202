package storetest

import (
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/store"
)

// names lists entries as namespace/name.
func names(entries iter.Seq[*store.Entry]) []string {
	var out []string
	for e := range entries {
		out = append(out, e.Ref.Namespace+"/"+e.Ref.Name)
	}
	return out
}

func testReadsAreOrdered(t *testing.T, backend store.Backend) {
	s := Start(t, backend)
	// A namespace that is the beginning of another, with a name that sorts
	// between them as one string, must not come apart.
	for _, n := range [][2]string{{"b", "2"}, {"a-b", "1"}, {"b", "10"}, {"a", "z"}, {"c", "0"}} {
		write(t, s, Put(ConfigMap(n[0], n[1], ""), 0))
	}
	now := s.Snapshot()
	for _, test := range []struct {
		name string
		got  iter.Seq[*store.Entry]
		want []string
	}{
		{"all", now.Entries(ConfigMaps, ""), []string{"a/z", "a-b/1", "b/10", "b/2", "c/0"}},
		{"a namespace", now.Entries(ConfigMaps, "b"), []string{"b/10", "b/2"}},
		{"no namespace", now.Entries(ConfigMaps, "none"), nil},
		{"from", now.EntriesFrom(ConfigMaps, "", "a-b", "2"), []string{"b/10", "b/2", "c/0"}},
		{"from in a namespace", now.EntriesFrom(ConfigMaps, "b", "b", "10\x00"), []string{"b/2"}},
		{"from before a namespace", now.EntriesFrom(ConfigMaps, "c", "a", "x"), []string{"c/0"}},
	} {
		if diff := cmp.Diff(test.want, names(test.got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
	if got := now.Count(ConfigMaps); got != 5 {
		t.Errorf("count %d, want 5", got)
	}
	for range now.Each(ConfigMaps, "") {
		break // a reader may stop early
	}
}

func testIndex(t *testing.T, backend store.Backend) {
	s := Start(t, backend)
	a := write(t, s, Put(Pod("shop", "a", ""), 0))
	write(t, s, Put(Pod("shop", "b", "n1"), 0))
	write(t, s, Put(Pod("shop", "a", "n1"), a.Revision))
	c := write(t, s, Put(Pod("shop", "c", "n1"), 0))
	write(t, s, store.Write{Ref: podRef("shop", "c"), Expect: c.Revision})
	for node, want := range map[string][]string{"": nil, "n": nil, "n1": {"shop/a", "shop/b"}} {
		if diff := cmp.Diff(want, names(s.Snapshot().EntriesIndexed(Pods, "spec.nodeName", node))); diff != "" {
			t.Errorf("pods on %q (-want +got):\n%s", node, diff)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("an unknown index did not panic")
		}
	}()
	s.Snapshot().EachIndexed(Pods, "spec.nothing", "")
}

func testCorrupt(t *testing.T, backend store.Backend) {
	s := Start(t, backend)
	good := write(t, s, Put(ConfigMap("shop", "good", "1"), 0))
	bad := write(t, s, Put(ConfigMap("shop", "bad", "1"), 0))
	raw, err := backend.Txn(t.Context(), store.Request{Ops: []store.Op{{Key: "/registry/configmaps/shop/bad", Value: []byte("{")}}})
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range []*store.Store{s, Start(t, backend)} { // seen live, and at start
		if err := s.WaitFor(t.Context(), raw.Revision); err != nil {
			t.Fatal(err)
		}
		now := s.Snapshot()
		var keys []string
		for c := range now.Corrupt() {
			keys = append(keys, c.Key)
		}
		if diff := cmp.Diff([]string{"/registry/configmaps/shop/bad"}, keys); diff != "" {
			t.Errorf("store %d: corrupt keys (-want +got):\n%s", i, diff)
		}
		if diff := cmp.Diff([]string{"shop/good"}, names(now.Entries(ConfigMaps, ""))); diff != "" {
			t.Errorf("store %d: served (-want +got):\n%s", i, diff)
		}
	}
	write(t, s, Put(ConfigMap("shop", "good", "2"), good.Revision))
	if _, err := s.Txn(t.Context(), store.Txn{Writes: []store.Write{Put(ConfigMap("shop", "bad", "2"), bad.Revision)}}); !txn.IsConflict(err) {
		t.Errorf("update over a corrupt value: %v, want a conflict", err)
	}
	write(t, s, store.Write{Ref: mapRef("shop", "bad"), Expect: raw.Revision})
	for c := range s.Snapshot().Corrupt() {
		t.Errorf("still corrupt after its removal: %v", c)
	}
}

func testReopen(t *testing.T, backend store.Backend) {
	first := Start(t, backend)
	for i := range 300 {
		write(t, first, Put(ConfigMap("shop", fmt.Sprintf("m%03d", i), ""), 0))
	}
	node := write(t, first, Put(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, 0))
	second := Start(t, backend)
	if got := second.Snapshot(); got.Revision() != node.Revision || got.Count(ConfigMaps) != 300 || got.Count(Nodes) != 1 {
		t.Errorf("reopened at %d with %d maps and %d nodes, want %d, 300, 1", got.Revision(), got.Count(ConfigMaps), got.Count(Nodes), node.Revision)
	}
	same(t, first, second)
}

// same fails the test unless two stores show the same objects.
func same(t *testing.T, a, b *store.Store) {
	t.Helper()
	for _, r := range Declare() {
		var revisions [2]map[string]int64
		for i, s := range []*store.Store{a, b} {
			revisions[i] = map[string]int64{}
			for e := range s.Snapshot().Entries(r.Resource, "") {
				revisions[i][e.Ref.String()] = e.Revision
			}
		}
		if diff := cmp.Diff(revisions[0], revisions[1]); diff != "" {
			t.Errorf("two stores differ in %s:\n%s", r.Resource, diff)
		}
	}
}

func testCurrent(t *testing.T, backend store.Backend) {
	a, b := Start(t, backend), Start(t, backend)
	revision := int64(0)
	for i := range 50 {
		revision = write(t, a, Put(ConfigMap("shop", "x", fmt.Sprint(i)), revision)).Revision
		now, err := b.Current(t.Context())
		if err != nil {
			t.Fatalf("current: %v", err)
		}
		if e := now.Entry(mapRef("shop", "x")); e == nil || e.Revision < revision {
			t.Fatalf("a read after the write at %d saw %v", revision, e)
		}
	}
}

func testForeignKeys(t *testing.T, backend store.Backend) {
	s := Start(t, backend)
	raw, err := backend.Txn(t.Context(), store.Request{Ops: []store.Op{{Key: "/elsewhere", Value: []byte("x")}}})
	if err != nil {
		t.Fatal(err)
	}
	now, err := s.Current(t.Context())
	if err != nil || now.Revision() < raw.Revision {
		t.Errorf("current after a foreign key was written at %d: %v", raw.Revision, err)
	}
}

func testExactReads(t *testing.T, backend store.Backend) {
	s := Start(t, backend, func(c *store.Config) { c.Snapshots = 2 })
	type state struct {
		revision int64
		value    string
	}
	var states []state
	revision := int64(0)
	for i := range 20 {
		revision = write(t, s, Put(ConfigMap("shop", "x", fmt.Sprint(i)), revision)).Revision
		states = append(states, state{revision, fmt.Sprint(i)})
		write(t, s, Put(Pod("shop", fmt.Sprint(i), ""), 0)) // revisions between
	}
	for _, want := range states {
		for _, at := range []int64{want.revision, want.revision + 1} {
			got, err := s.At(t.Context(), at, ConfigMaps)
			if err != nil {
				t.Fatalf("at %d: %v", at, err)
			}
			o, _ := got.Get(mapRef("shop", "x"))
			if got.Revision() != at || o == nil || o.(*corev1.ConfigMap).Data["v"] != want.value {
				t.Errorf("at %d: %v at %d, want value %s", at, o, got.Revision(), want.value)
			}
		}
	}
	if err := backend.Compact(t.Context(), states[10].revision); err != nil {
		t.Fatal(err)
	}
	if _, err := s.At(t.Context(), states[2].revision, ConfigMaps); !store.IsExpired(err) {
		t.Errorf("a compacted revision: %v, want an expired error", err)
	}
	if _, err := s.At(t.Context(), states[2].revision, Nodes); err != nil {
		t.Errorf("a compacted revision of what has never changed: %v", err)
	}
}

// What housekeeping asks of a backend, while the store goes on.
func testUpkeep(t *testing.T, backend store.Backend) {
	s := Start(t, backend)
	revision := int64(0)
	for i := range 20 {
		revision = write(t, s, Put(ConfigMap("shop", "x", fmt.Sprint(i)), revision)).Revision
	}
	if err := backend.Compact(t.Context(), revision-5); err != nil {
		t.Errorf("compact: %v", err)
	}
	if err := backend.Compact(t.Context(), revision-6); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("compact to an older revision: %v, want %v", err, store.ErrCompacted)
	}
	if u := <-backend.Watch(t.Context(), "/", "0", 2); !errors.Is(u.Err, store.ErrCompacted) {
		t.Errorf("watch from a compacted revision: %v, want %v", u.Err, store.ErrCompacted)
	}
	if err := backend.Defragment(t.Context()); err != nil {
		t.Errorf("defragment: %v", err)
	}
	u, err := backend.Usage(t.Context())
	if err != nil || u.Quota > 0 && (u.InUse == 0 || u.InUse > u.Size) {
		t.Errorf("usage: %+v, %v", u, err)
	}
	if t.Logf("usage %+v", u); strings.Contains(t.Name(), "Etcd") && u.Quota == 0 {
		t.Error("etcd does not tell its quota")
	}
	if p := s.Pressure(); p < 0 || p > 0.1 {
		t.Errorf("pressure %v of an almost empty store", p)
	}
	write(t, s, Put(ConfigMap("shop", "x", "after"), revision))
}

func testResources(t *testing.T, backend store.Backend) {
	first := Start(t, backend)
	write(t, first, Put(Pod("shop", "a", "n1"), 0))
	s, err := store.Open(t.Context(), store.Config{Backend: backend, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Resources: Declare()[1:]})
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	if s.Snapshot().Has(Pods) {
		t.Fatal("pods are served before they were added")
	}
	if err := s.AddResource(t.Context(), Declare()[0]); err != nil {
		t.Fatalf("add: %v", err)
	}
	if err := s.AddResource(t.Context(), Declare()[0]); err == nil {
		t.Error("a resource was added twice")
	}
	w, err := s.Watch(t.Context(), store.WatchOptions{Resource: Pods})
	if err != nil {
		t.Fatalf("watch: %v", err)
	}
	defer w.Close()
	write(t, s, Put(Pod("shop", "b", "n1"), 0))
	if diff := cmp.Diff([]string{"shop/a", "shop/b"}, names(s.Snapshot().EntriesIndexed(Pods, "spec.nodeName", "n1"))); diff != "" {
		t.Errorf("after adding (-want +got):\n%s", diff)
	}
	expect(t, w, "added shop/b")
	if err := s.RemoveResource(t.Context(), Pods); err != nil {
		t.Fatalf("remove: %v", err)
	}
	if _, err := w.Next(t.Context()); !store.IsExpired(err) {
		t.Errorf("watch of a removed resource: %v, want an expired error", err)
	}
	if s.Snapshot().Has(Pods) || s.Snapshot().Count(ConfigMaps) != 0 {
		t.Error("pods are served after they were removed")
	}
	if err := s.AddResource(t.Context(), Declare()[0]); err != nil || s.Snapshot().Count(Pods) != 2 {
		t.Errorf("adding it again: %v with %d pods, want 2", err, s.Snapshot().Count(Pods))
	}
}
