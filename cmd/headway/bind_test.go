package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver"
	"github.com/headway-sh/headway/scheduler"
)

// BenchmarkBind creates pods in batches, in process and durably, on 5,000 nodes,
// and waits until the scheduler has bound them all.
func BenchmarkBind(b *testing.B) {
	const nodes, pods = 5000, 10000
	api, err := apiserver.Start(b.Context(), apiserver.Config{DataDir: b.TempDir(), Listen: netip.MustParseAddrPort("127.0.0.1:0"), Logger: slog.New(slog.DiscardHandler)})
	ok(b, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(b.Context()))
	admin, identity := api.Peer(apiserver.Masters), user("system:kube-scheduler")
	epoch, err := api.Peer(identity).Txn().Acquire(ctx, "kube-scheduler")
	ok(b, err)
	peer := api.Peer(identity).Bound(epoch)
	objects := peer.Cache()
	s, err := scheduler.New(scheduler.Config{Client: peer.LocalClient(), Cache: objects, Txn: peer.Txn(), Identity: identity, Epoch: epoch, Seed: 1})
	ok(b, err)
	done := make(chan error, 1)
	go func() {
		done <- runAll(ctx, slog.New(slog.DiscardHandler), []component{{"api", api.Run}, {"cache", objects.Start}, {"scheduler", s.Run}})
	}()
	b.Cleanup(func() {
		stop()
		ok(b, <-done)
	})
	write := func(changes []txn.Change) {
		for batch := range slices.Chunk(changes, 1000) {
			_, _, err := txn.Run(ctx, admin.Txn(), apiserver.Masters, txn.CommitOptions{}, func(txn.View) ([]txn.Change, error) { return batch, nil })
			ok(b, err)
		}
	}
	ok(b, admin.Client().Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}}))
	var made, ready []txn.Change
	for i := range nodes {
		n := &corev1.Node{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("n%05d", i)}}
		n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("32"), corev1.ResourceMemory: resource.MustParse("64Gi"), corev1.ResourcePods: resource.MustParse("110")}
		ref := txn.Ref{Resource: schema.GroupResource{Resource: "nodes"}, Name: n.Name}
		made = append(made, txn.Change{Verb: txn.Create, Version: "v1", Ref: ref, Object: n})
		// Every node begins as not ready.
		ready = append(ready, txn.Change{Verb: txn.Patch, Version: "v1", Ref: ref, PatchType: types.MergePatchType, Patch: []byte(`{"spec":{"taints":null}}`)})
	}
	write(made)
	write(ready)
	round := 0
	for b.Loop() {
		round++
		var changes []txn.Change
		for i := range pods {
			p := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("p%d-%05d", round, i), Labels: map[string]string{"app": "web"}},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "web:1", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")}}}}}}
			changes = append(changes, txn.Change{Verb: txn.Create, Version: "v1", Ref: txn.Ref{Resource: schema.GroupResource{Resource: "pods"}, Namespace: "default", Name: p.Name}, Object: p})
		}
		began := time.Now()
		write(changes)
		created := time.Since(began)
		tick := time.NewTicker(20 * time.Millisecond)
		for bound := 0; bound < round*pods; <-tick.C {
			var list corev1.PodList
			ok(b, admin.Client().List(ctx, &list, client.UnsafeDisableDeepCopy))
			bound = 0
			for i := range list.Items {
				if list.Items[i].Spec.NodeName != "" {
					bound++
				}
			}
		}
		tick.Stop()
		b.ReportMetric(pods/time.Since(began).Seconds(), "bound/s")
		b.ReportMetric(pods/created.Seconds(), "created/s")
	}
}
