package txnhttp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/api/txn/remote"
	"github.com/headway-sh/headway/apiserver/kinds"
	"github.com/headway-sh/headway/apiserver/store"
	"github.com/headway-sh/headway/apiserver/store/memkv"
	"github.com/headway-sh/headway/apiserver/txnhttp"
	"github.com/headway-sh/headway/apiserver/write"
)

var (
	namespaces = schema.GroupResource{Resource: "namespaces"}
	configMaps = schema.GroupResource{Resource: "configmaps"}
	me         = txn.Identity{Name: "me"}
)

// deny refuses "user verb resource".
type deny map[string]bool

func (d deny) Authorize(_ txn.View, identity txn.Identity, a write.Attributes) write.Decision {
	return write.Decision{Allowed: !d[identity.Name+" "+a.Verb+" "+a.Resource.Resource]}
}

// connect gives a client of a whole write path over HTTP.
func connect(t *testing.T, denied deny) (*remote.Client, *write.Path) {
	t.Helper()
	rows := kinds.All()
	scheme, err := kinds.Scheme()
	check(t, err)
	log := slog.New(slog.DiscardHandler)
	var resources []store.Resource
	for _, k := range rows {
		resources = append(resources, store.Resource{Resource: k.Resource(), Prefix: "/registry/" + k.StoragePrefix + "/", Namespaced: k.Namespaced,
			Encode: k.Encode, Decode: k.Decode, Indexes: k.Indexes})
	}
	s, err := store.Open(t.Context(), store.Config{Backend: memkv.New(), Resources: resources, Logger: log})
	check(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	path, err := write.New(write.Config{Store: write.OnStore(s), Kinds: rows, Authorizer: denied, Scheme: scheme, Log: log})
	check(t, err)
	handler, err := txnhttp.New(txnhttp.Config{DB: path, Authorizer: denied, Committed: func(http.ResponseWriter, *txn.Result, *txn.Committed, error) {}, Codec: remote.Codec{Scheme: scheme}, Log: log,
		Identity: func(context.Context) txn.Identity { return me },
		Fail: func(w http.ResponseWriter, _ *http.Request, err error) {
			status := remote.EncodeError(err)
			status.Kind = "Status"
			w.WriteHeader(int(status.Code))
			check(t, json.NewEncoder(w).Encode(status))
		}})
	check(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		cancel()
		check(t, <-done)
	})
	client, err := remote.New(remote.Config{URL: server.URL, HTTP: server.Client(), Identity: me.Name, Scheme: scheme,
		Resources: []schema.GroupResource{namespaces, configMaps},
		Indexes: map[schema.GroupResource]map[string]func(txn.Object) []string{configMaps: {"first": func(o txn.Object) []string {
			return []string{o.GetName()[:1]}
		}}}})
	check(t, err)
	return client, path
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func namespace(name string) txn.Change {
	return txn.Change{Verb: txn.Create, Ref: txn.Ref{Resource: namespaces, Name: name}, Version: "v1",
		Object: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, FieldManager: "test"}
}

func apply(name, value string) txn.Change {
	return txn.Change{Verb: txn.Apply, Ref: txn.Ref{Resource: configMaps, Namespace: "shop", Name: name}, Version: "v1", FieldManager: "test",
		Object: &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
			"metadata": map[string]any{"name": name, "namespace": "shop"}, "data": map[string]any{"k": value}}}}
}

func run(t *testing.T, c *remote.Client, changes ...txn.Change) (*txn.Result, *txn.Committed, error) {
	t.Helper()
	return txn.Run(t.Context(), c, me, txn.CommitOptions{}, func(txn.View) ([]txn.Change, error) { return changes, nil })
}

func TestCommitIsOneTransaction(t *testing.T) {
	t.Parallel()
	c, _ := connect(t, nil)
	result, done, err := run(t, c, namespace("shop"), apply("a", "1"), apply("b", "2"))
	check(t, err)
	if len(done.Objects) != 3 || result.Outcomes[1].Operation != txn.Created {
		t.Fatalf("%+v %+v", result, done)
	}
	for _, o := range done.Objects {
		if o.GetResourceVersion() != fmt.Sprint(done.Revision) {
			t.Errorf("%s has revision %s, want %d", o.GetName(), o.GetResourceVersion(), done.Revision)
		}
	}
	view, err := c.View(t.Context())
	check(t, err)
	if o, ok := view.Get(apply("a", "").Ref); !ok || o.(*corev1.ConfigMap).Data["k"] != "1" {
		t.Errorf("the view has %v", o)
	}
	var names string
	for o := range view.Each(configMaps, "shop") {
		names += o.GetName()
	}
	for o := range view.EachIndexed(configMaps, "first", "b") {
		names += "+" + o.GetName()
	}
	if names != "ab+b" {
		t.Errorf("names %s", names)
	}
	again, _, err := run(t, c, apply("a", "1"))
	check(t, err)
	if again.Outcomes[0].Operation != txn.Unchanged {
		t.Errorf("a second apply is %s", again.Outcomes[0].Operation)
	}
}

func TestCommitConflicts(t *testing.T) {
	t.Parallel()
	c, _ := connect(t, nil)
	_, _, err := run(t, c, namespace("shop"), apply("a", "1"))
	check(t, err)
	view, err := c.View(t.Context())
	check(t, err)
	old, err := c.Plan(t.Context(), view, me, []txn.Change{apply("a", "2"), apply("b", "2")})
	check(t, err)
	_, _, err = run(t, c, apply("a", "3"))
	check(t, err)
	_, err = c.Commit(t.Context(), old, txn.CommitOptions{})
	if conflict := (*txn.ConflictError)(nil); !errors.As(err, &conflict) || conflict.Refs[0] != apply("a", "").Ref {
		t.Fatalf("a stale plan: %v", err)
	}
	view, err = c.View(t.Context())
	check(t, err)
	if _, ok := view.Get(apply("b", "").Ref); ok {
		t.Error("a part of the refused commit was written")
	}
}

func TestErrorsAndAuthorization(t *testing.T) {
	t.Parallel()
	denied := deny{}
	c, _ := connect(t, denied)
	patch := apply("a", "1")
	patch.Verb, patch.Object, patch.Patch, patch.PatchType, patch.Origin = txn.Patch, nil, []byte(`{}`), types.MergePatchType, "a.yaml:7"
	_, _, err := run(t, c, patch)
	if status := (*apierrors.StatusError)(nil); !errors.As(err, &status) || !apierrors.IsNotFound(status) || !strings.HasPrefix(err.Error(), "a.yaml:7: ") {
		t.Errorf("a patch of nothing: %v", err)
	}
	view, err := c.View(t.Context())
	check(t, err)
	if _, err := c.Plan(t.Context(), txn.Overlay(view, map[txn.Ref]txn.Object{{Resource: namespaces, Name: "x"}: nil}, nil), me, nil); err == nil {
		t.Error("a plan on pending changes was accepted")
	}
	denied["me list configmaps"] = true
	if _, err := c.View(t.Context()); !apierrors.IsForbidden(err) {
		t.Errorf("a view of what may not be listed: %v", err)
	}
}

func TestNotesAndEpochs(t *testing.T) {
	t.Parallel()
	c, _ := connect(t, nil)
	first, err := c.Acquire(t.Context(), "applier")
	check(t, err)
	commit := func(epoch txn.Epoch, name string) error {
		_, _, err := txn.Run(t.Context(), c, me, txn.CommitOptions{Epoch: epoch, Notes: []txn.Note{{Key: "inventory/main", Value: []byte(name)}}},
			func(txn.View) ([]txn.Change, error) { return []txn.Change{namespace(name)}, nil })
		return err
	}
	check(t, commit(first, "one"))
	second, err := c.Acquire(t.Context(), "applier")
	check(t, err)
	if err := commit(first, "two"); !errors.Is(err, txn.ErrEpoch) {
		t.Errorf("the old leader's commit: %v", err)
	}
	check(t, commit(second, "three"))
	notes, err := c.Notes(t.Context(), "inventory/")
	check(t, err)
	if len(notes) != 1 || string(notes[0].Value) != "three" {
		t.Errorf("notes %q", notes)
	}
}

func TestObserve(t *testing.T) {
	t.Parallel()
	c, _ := connect(t, nil)
	seen := make(chan txn.Write, 10)
	stop := c.Observe(func(w txn.Write) { seen <- w })
	defer stop()
	if w := <-seen; w.Revision != 0 {
		t.Fatalf("the beginning is no gap: %+v", w)
	}
	_, done, err := run(t, c, namespace("shop"))
	check(t, err)
	w := <-seen
	if w.Revision != done.Revision || w.Identity.Name != "me" || w.After.GetName() != "shop" || w.Before != nil || w.FieldManager != "test" {
		t.Errorf("observed %+v", w)
	}
}
