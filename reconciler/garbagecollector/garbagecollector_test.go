package garbagecollector_test

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/garbagecollector"
)

var kind = corev1.SchemeGroupVersion.WithKind("ConfigMap")

// object is a ConfigMap; owners are names, "!" in front blocks the owner.
func object(name string, owners ...string) *corev1.ConfigMap {
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name)}}
	for _, owner := range owners {
		block := owner[0] == '!'
		if block {
			owner = owner[1:]
		}
		m.OwnerReferences = append(m.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: owner, UID: types.UID(owner), BlockOwnerDeletion: ptr.To(block)})
	}
	return m
}

func finalized(m *corev1.ConfigMap, finalizer string) *corev1.ConfigMap {
	m.Finalizers = []string{finalizer}
	return m
}

func TestCollect(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		objects []client.Object
		delete  string
		want    []string // what stays, with its owners
	}{
		{"background, through generations", []client.Object{object("a"), object("b", "a"), object("c", "b"), object("other")}, "a", []string{"other []"}},
		{"absent owner", []client.Object{object("b", "never-was")}, "", nil},
		{"one of two owners lives", []client.Object{object("a"), object("x"), object("b", "a", "x")}, "a", []string{"b [x]", "x []"}},
		{"owner of the same name is another", []client.Object{
			&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a", UID: "newer"}}, object("b", "a")}, "", []string{"a []"}},
		{"foreground", []client.Object{finalized(object("a"), metav1.FinalizerDeleteDependents), object("b", "!a"), object("c", "b")}, "a", nil},
		{"foreground waits for a finalizer", []client.Object{
			finalized(object("a"), metav1.FinalizerDeleteDependents), finalized(object("b", "!a"), "test/hold")}, "a", []string{"a []", "b [a]"}},
		{"foreground does not wait for who does not block", []client.Object{
			finalized(object("a"), metav1.FinalizerDeleteDependents), object("b", "a")}, "a", nil},
		{"foreground leaves shared dependents", []client.Object{
			finalized(object("a"), metav1.FinalizerDeleteDependents), object("x"), object("b", "!a", "x")}, "a", []string{"b [x]", "x []"}},
		{"circle", []client.Object{
			finalized(object("a", "!c"), metav1.FinalizerDeleteDependents), object("b", "!a"), object("c", "!b")}, "a", nil},
		{"orphan", []client.Object{finalized(object("a"), metav1.FinalizerOrphanDependents), object("b", "a"), object("c", "b")}, "a", []string{"b []", "c [b]"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
			api := fakecluster.New(clk, test.objects...)
			r := garbagecollector.NewReconciler(controller.Deps{Client: api, Clock: clk, Logger: slog.New(slog.DiscardHandler)})
			w := &watcher{T: t, api: api, r: r, known: map[types.UID]string{}}
			w.settle()
			if test.delete != "" {
				if err := api.Delete(t.Context(), object(test.delete)); err != nil {
					t.Fatal(err)
				}
				w.settle()
			}
			if diff := cmp.Diff(test.want, w.dump()); diff != "" {
				t.Errorf("what stays (-want +got):\n%s", diff)
			}
		})
	}
}

// watcher plays cache and queue.
type watcher struct {
	*testing.T
	api   client.Client
	r     *garbagecollector.Reconciler
	known map[types.UID]string // resourceVersion last told
}

func (w *watcher) list() []corev1.ConfigMap {
	var l corev1.ConfigMapList
	if err := w.api.List(w.Context(), &l); err != nil {
		w.Fatal(err)
	}
	return l.Items
}

// settle tells the changes and does what they ask for until there are none.
func (w *watcher) settle() {
	w.Helper()
	for range 50 {
		var items []garbagecollector.Item
		seen := map[types.UID]bool{}
		for _, m := range w.list() {
			seen[m.UID] = true
			if w.known[m.UID] != m.ResourceVersion {
				w.known[m.UID] = m.ResourceVersion
				items = append(items, w.r.Learn(kind, &m)...)
			}
		}
		for uid := range w.known {
			if !seen[uid] {
				delete(w.known, uid)
				items = append(items, w.r.Forget(uid)...)
			}
		}
		if len(items) == 0 {
			return
		}
		for _, item := range items {
			if _, err := w.r.Reconcile(w.Context(), item); err != nil {
				w.Fatal(err)
			}
		}
	}
	w.Fatal("never settles")
}

func (w *watcher) dump() (out []string) {
	for _, m := range w.list() {
		owners := []string{}
		for _, ref := range m.OwnerReferences {
			owners = append(owners, ref.Name)
		}
		out = append(out, fmt.Sprintf("%s %v", m.Name, owners))
	}
	slices.Sort(out)
	return out
}
