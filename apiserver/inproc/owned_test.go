package inproc_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/ownership"
)

func ownedPod(namespace, name string, owner types.UID, app string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": app}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "web:1"}}},
	}
	if owner != "" {
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web", UID: owner, Controller: ptr.To(true)}}
	}
	return p
}

func TestDependentsAreFoundByTheirOwner(t *testing.T) {
	t.Parallel()
	c := newRig(t, nil).peer("controller").LocalClient()
	for _, p := range []*corev1.Pod{
		ownedPod("shop", "mine", "a", "web"), ownedPod("shop", "theirs", "b", "web"), ownedPod("shop", "free", "", "web"),
		ownedPod("shop", "other", "", "db"), ownedPod("lab", "far", "", "web"),
	} {
		if err := c.Create(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	names := func(options ...client.ListOption) []string {
		t.Helper()
		var list corev1.PodList
		if err := c.List(t.Context(), &list, options...); err != nil {
			t.Fatal(err)
		}
		found := []string{}
		for _, p := range list.Items {
			found = append(found, p.Name)
		}
		return found
	}
	orphans := client.MatchingFields{ownership.Orphan: "shop"}
	got := map[string][]string{
		"owned":     names(client.InNamespace("shop"), client.MatchingFields{ownership.Controller: "a"}),
		"elsewhere": names(client.InNamespace("lab"), client.MatchingFields{ownership.Controller: "a"}),
		"orphans":   names(orphans),
		"matching":  names(client.InNamespace("shop"), orphans, client.MatchingLabelsSelector{Selector: labels.SelectorFromSet(labels.Set{"app": "web"})}),
	}
	want := map[string][]string{"owned": {"mine"}, "elsewhere": {}, "orphans": {"free", "other"}, "matching": {"free"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
}

// BenchmarkDependents reads the pods of one of 1,000 owners in a namespace, by
// their owner and by looking at all of them.
func BenchmarkDependents(b *testing.B) {
	c := newRig(b, nil).peer("controller").LocalClient()
	for i := range 1000 {
		if err := c.Create(b.Context(), ownedPod("shop", fmt.Sprint("p", i), types.UID(fmt.Sprint("owner-", i)), "web")); err != nil {
			b.Fatal(err)
		}
	}
	for name, options := range map[string][]client.ListOption{
		"owner": {client.MatchingFields{ownership.Controller: "owner-500"}}, "namespace": nil,
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				var list corev1.PodList
				if err := c.List(b.Context(), &list, append(options, client.InNamespace("shop"))...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
