package inproc_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/headway-sh/headway/api/txn"
)

func TestClientVerbs(t *testing.T) {
	t.Parallel()
	c := newRig(t, nil).peer("system:kube-scheduler").Client()
	ctx := t.Context()
	cm := configMap("a", "k", "v")
	if err := c.Create(ctx, cm); err != nil || cm.UID == "" || cm.ResourceVersion == "" {
		t.Fatalf("create: %v, %+v", err, cm.ObjectMeta)
	}
	if cm.ManagedFields[0].Manager != "kube-scheduler" {
		t.Errorf("written by %q", cm.ManagedFields[0].Manager)
	}
	key := client.ObjectKeyFromObject(cm)
	got := &corev1.ConfigMap{}
	if err := c.Get(ctx, key, got); err != nil || got.Data["k"] != "v" {
		t.Fatalf("get: %v, %v", err, got.Data)
	}
	got.Data["k"] = "mine" // a copy: the store's object stays
	fresh := &unstructured.Unstructured{}
	fresh.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
	if err := c.Get(ctx, key, fresh); err != nil {
		t.Fatal(err)
	}
	if v, _, _ := unstructured.NestedString(fresh.Object, "data", "k"); v != "v" {
		t.Errorf("the stored object was changed through a copy: %q", v)
	}
	if err := c.Update(ctx, got); err != nil || got.ResourceVersion == cm.ResourceVersion {
		t.Errorf("update: %v, %s", err, got.ResourceVersion)
	}
	if err := c.Update(ctx, cm); !apierrors.IsConflict(err) {
		t.Errorf("stale update: %v", err)
	}
	if err := c.Patch(ctx, got, client.RawPatch("application/merge-patch+json", []byte(`{"data":{"x":"y"}}`))); err != nil || got.Data["x"] != "y" {
		t.Errorf("patch: %v, %v", err, got.Data)
	}
	apply := corev1apply.ConfigMap("a", "shop").WithData(map[string]string{"z": "1"})
	if err := c.Apply(ctx, apply, client.FieldOwner("applier")); err != nil {
		t.Errorf("apply: %v", err)
	}
	var all corev1.ConfigMapList
	if err := c.List(ctx, &all, client.InNamespace("shop")); err != nil || len(all.Items) != 1 || len(all.Items[0].Data) != 3 {
		t.Errorf("list: %v, %v", err, all.Items)
	}
	var metas metav1.PartialObjectMetadataList
	metas.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMapList"))
	if err := c.List(ctx, &metas, client.MatchingFields{"metadata.name": "a"}); err != nil || len(metas.Items) != 1 || metas.Items[0].UID != cm.UID {
		t.Errorf("list metadata: %v, %v", err, metas.Items)
	}
	if err := c.List(ctx, &all, client.MatchingFields{"spec.color": "red"}); !apierrors.IsBadRequest(err) {
		t.Errorf("list by an unknown field: %v", err)
	}
	if err := c.Delete(ctx, got); err != nil {
		t.Errorf("delete: %v", err)
	}
	if err := c.Get(ctx, key, got); !apierrors.IsNotFound(err) {
		t.Errorf("get what is gone: %v", err)
	}
}

// TestListInChunks writes while a list is read in chunks: all are of the
// revision of the first.
func TestListInChunks(t *testing.T) {
	t.Parallel()
	c := newRig(t, nil).peer("reader").Client()
	ctx := t.Context()
	for i := range 5 {
		if err := c.Create(ctx, configMap(fmt.Sprint("m", i))); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	var page corev1.ConfigMapList
	options := []client.ListOption{client.InNamespace("shop"), client.Limit(2)}
	first := ""
	for chunk := 0; chunk == 0 || page.Continue != ""; chunk++ {
		if err := c.List(ctx, &page, append(options, client.Continue(page.Continue))...); err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = page.ResourceVersion
		}
		if page.ResourceVersion != first || len(page.Items) > 2 {
			t.Errorf("chunk %d has %d items of %s, the first was of %s", chunk, len(page.Items), page.ResourceVersion, first)
		}
		for i := range page.Items {
			names = append(names, page.Items[i].Name)
		}
		if err := c.Create(ctx, configMap(fmt.Sprint("n", chunk))); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(names, " "); got != "m0 m1 m2 m3 m4" {
		t.Errorf("listed %s", got)
	}
	if err := c.List(ctx, &page, client.Limit(1), client.Continue("nonsense")); !apierrors.IsBadRequest(err) {
		t.Errorf("a token that is none: %v", err)
	}
}

func TestIdentityIsAuthorized(t *testing.T) {
	t.Parallel()
	r := newRig(t, denied{"eve get secrets", "eve list secrets", "eve watch pods", "eve create pods", "eve impersonate users"})
	eve := r.peer("eve")
	ctx := t.Context()
	if err := eve.Client().Get(ctx, client.ObjectKey{Namespace: "shop", Name: "s"}, &corev1.Secret{}); !apierrors.IsForbidden(err) {
		t.Errorf("get: %v", err)
	}
	if _, err := eve.Client().Watch(ctx, &corev1.PodList{}); !apierrors.IsForbidden(err) {
		t.Errorf("watch: %v", err)
	}
	if _, err := eve.Cache().GetInformer(ctx, &corev1.Pod{}); !apierrors.IsForbidden(err) {
		t.Errorf("informer: %v", err)
	}
	if err := eve.Cache().List(ctx, &corev1.SecretList{}); !apierrors.IsForbidden(err) {
		t.Errorf("cache list: %v", err)
	}
	err := eve.Client().Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}})
	if want := `pods is forbidden: User "eve" cannot create resource "pods" in API group "" in the namespace "shop"`; err == nil || err.Error() != want {
		t.Errorf("create: %v\nwant %s", err, want)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s"}}
	if err := r.peer("alice").Client().Create(ctx, secret); err != nil {
		t.Fatal(err)
	}
	view, err := eve.Txn().View(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ref := txn.Ref{Resource: corev1.Resource("secrets"), Namespace: "shop", Name: "s"}
	if _, ok := view.Get(ref); ok {
		t.Error("a View shows a secret to who may not list secrets")
	}
	if _, err := eve.Txn().Plan(ctx, view, txn.Identity{Name: "alice"}, nil); !apierrors.IsForbidden(err) {
		t.Errorf("plan as somebody else: %v", err)
	}
}

// events writes down what a handler sees.
type events struct {
	mu   sync.Mutex
	seen []string
}

func (e *events) add(format string, o any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen = append(e.seen, fmt.Sprintf(format, o.(client.Object).GetName()))
}

func (e *events) list() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.seen...)
}

func (e *events) handler() toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(o any, initial bool) {
			if initial {
				e.add("initial %s", o)
			} else {
				e.add("add %s", o)
			}
		},
		UpdateFunc: func(_, o any) { e.add("update %s", o) },
		DeleteFunc: func(o any) { e.add("delete %s", o) },
	}
}

func TestInformer(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	peer := r.peer("system:kube-controller-manager")
	c, cache := peer.Client(), peer.Cache()
	if err := c.Create(t.Context(), configMap("first")); err != nil {
		t.Fatal(err)
	}
	informer, err := cache.GetInformer(t.Context(), &corev1.ConfigMap{})
	if err != nil {
		t.Fatal(err)
	}
	var e events
	registration, err := informer.AddEventHandler(e.handler())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- cache.Start(ctx) }()
	if !cache.WaitForCacheSync(ctx) || !toolscache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
		t.Fatal("did not sync")
	}
	second := configMap("second")
	if err := c.Create(ctx, second); err != nil {
		t.Fatal(err)
	}
	second.Data = map[string]string{"a": "b"}
	if err := errors.Join(c.Update(ctx, second), c.Delete(ctx, second)); err != nil {
		t.Fatal(err)
	}
	want := []string{"initial first", "add second", "update second", "delete second"}
	eventually(t, "all events", func() bool { return len(e.list()) >= len(want) })
	if got := e.list(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("saw %v, want %v", got, want)
	}
	if err := cache.RemoveInformer(ctx, &corev1.ConfigMap{}); err != nil || !informer.IsStopped() {
		t.Errorf("remove: %v", err)
	}
	if err := c.Create(ctx, configMap("third")); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := e.list(); len(got) != len(want) {
		t.Errorf("a removed handler saw %v", got[len(want):])
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	c := newRig(t, nil).peer("alice").Client()
	here := configMap("here")
	here.Labels = map[string]string{"app": "x"}
	if err := c.Create(t.Context(), here); err != nil {
		t.Fatal(err)
	}
	w, err := c.Watch(t.Context(), &corev1.ConfigMapList{}, client.InNamespace("shop"), client.MatchingLabels{"app": "x"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	here.Labels = nil
	if err := c.Update(t.Context(), here); err != nil {
		t.Fatal(err)
	}
	for _, want := range []watch.EventType{watch.Added, watch.Deleted} {
		if got := <-w.ResultChan(); got.Type != want || got.Object.(*corev1.ConfigMap).Name != "here" {
			t.Errorf("got %s, want %s", got.Type, want)
		}
	}
}

// TestUnmanagedController runs a controller of controller-runtime that copies
// every ConfigMap's data under another name.
func TestUnmanagedController(t *testing.T) {
	t.Parallel()
	peer := newRig(t, nil).peer("system:serviceaccount:kube-system:copier")
	c, cache := peer.LocalClient(), peer.Cache()
	copier := reconcile.Func(func(ctx context.Context, r reconcile.Request) (reconcile.Result, error) {
		var cm corev1.ConfigMap
		if err := cache.Get(ctx, r.NamespacedName, &cm); err != nil || cm.Labels["copy"] != "" {
			return reconcile.Result{}, client.IgnoreNotFound(err)
		}
		copied := configMap("copy-" + cm.Name)
		copied.Labels, copied.Data = map[string]string{"copy": "of"}, cm.Data
		if err := c.Create(ctx, copied); apierrors.IsAlreadyExists(err) {
			return reconcile.Result{}, c.Update(ctx, copied)
		} else if err != nil {
			return reconcile.Result{}, err
		}
		return reconcile.Result{}, nil
	})
	ctl, err := controller.NewUnmanaged("copier", controller.Options{Reconciler: copier, SkipNameValidation: ptr.To(true)})
	if err != nil {
		t.Fatal(err)
	}
	if err := ctl.Watch(source.Kind[client.Object](cache, &corev1.ConfigMap{}, &handler.EnqueueRequestForObject{})); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = cache.Start(ctx) })
	running.Go(func() {
		if err := ctl.Start(ctx); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer cancel()
	cm := configMap("a", "k", "1")
	if err := c.Create(ctx, cm); err != nil {
		t.Fatal(err)
	}
	value := func(want string) func() bool {
		return func() bool {
			var got corev1.ConfigMap
			return c.Get(ctx, client.ObjectKey{Namespace: "shop", Name: "copy-a"}, &got) == nil && got.Data["k"] == want
		}
	}
	eventually(t, "the copy is made", value("1"))
	cm.Data["k"] = "2"
	if err := c.Update(ctx, cm); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the copy follows", value("2"))
}

func TestCommitIsOneRevision(t *testing.T) {
	t.Parallel()
	peer := newRig(t, nil).peer("system:serviceaccount:kube-system:gitsource")
	db, ctx := peer.Txn(), t.Context()
	seen := make(chan txn.Write, 16)
	stop := db.Observe(func(w txn.Write) { seen <- w })
	defer stop()
	build := func(txn.View) ([]txn.Change, error) {
		var changes []txn.Change
		for _, name := range []string{"a", "b", "c"} {
			cm := configMap(name)
			changes = append(changes, txn.Change{Verb: txn.Create, Ref: txn.Ref{Resource: corev1.Resource("configmaps"), Namespace: "shop", Name: name}, Object: cm})
		}
		return changes, nil
	}
	_, done, err := txn.Run(ctx, db, txn.Identity{}, txn.CommitOptions{}, build)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range done.Objects {
		if o.GetResourceVersion() != fmt.Sprint(done.Revision) {
			t.Errorf("object %d at %s, the commit at %d", i, o.GetResourceVersion(), done.Revision)
		}
		if w := <-seen; w.Ref.Name != o.GetName() || w.Revision != done.Revision || w.Identity.Name != peer.Identity().Name || w.Before != nil {
			t.Errorf("observed %+v", w)
		}
	}
	// One bad change among good ones writes nothing.
	result, done, err := txn.Run(ctx, db, txn.Identity{}, txn.CommitOptions{}, func(v txn.View) ([]txn.Change, error) {
		changes, _ := build(v)
		changes[0].Ref.Name, changes[0].Object = "d", configMap("d")
		changes[1].Origin = "apps/web.yaml:12"
		return changes[:2], nil
	})
	if err == nil || done != nil || result.Outcomes[0].Err != nil || !apierrors.IsAlreadyExists(result.Outcomes[1].Err) {
		t.Errorf("a plan with an error: %v, %+v", err, result)
	}
	if err := peer.Client().Get(ctx, client.ObjectKey{Namespace: "shop", Name: "d"}, &corev1.ConfigMap{}); !apierrors.IsNotFound(err) {
		t.Errorf("d: %v", err)
	}
}

func TestOldLeaderCannotWrite(t *testing.T) {
	t.Parallel()
	peer := newRig(t, nil).peer("system:kube-scheduler")
	ctx := t.Context()
	first, err := peer.Txn().Acquire(ctx, "kube-scheduler")
	if err != nil {
		t.Fatal(err)
	}
	old := peer.Bound(first)
	if err := old.Client().Create(ctx, configMap("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := peer.Txn().Acquire(ctx, "kube-scheduler"); err != nil {
		t.Fatal(err)
	}
	if err := old.Client().Create(ctx, configMap("b")); !errors.Is(err, txn.ErrEpoch) {
		t.Errorf("create by the old leader: %v", err)
	}
}
