package reconciler_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/reconciler"
	"github.com/headway-sh/headway/reconciler/nodelife"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func kinds() []schema.GroupVersionKind {
	return []schema.GroupVersionKind{
		corev1.SchemeGroupVersion.WithKind("Pod"), corev1.SchemeGroupVersion.WithKind("Service"), corev1.SchemeGroupVersion.WithKind("ConfigMap"),
		corev1.SchemeGroupVersion.WithKind("ServiceAccount"), corev1.SchemeGroupVersion.WithKind("Node"), corev1.SchemeGroupVersion.WithKind("Endpoints"),
		appsv1.SchemeGroupVersion.WithKind("Deployment"), appsv1.SchemeGroupVersion.WithKind("ReplicaSet"), discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"),
	}
}

// run starts all controllers on an emulated API until the test ends.
func run(t *testing.T, objects ...client.Object) *fakecluster.Cluster {
	api := fakecluster.New(clock.RealClock{}, objects...)
	ctx, cancel := context.WithCancel(context.Background())
	cache := api.NewCache(ctx)
	r, err := reconciler.New(reconciler.Config{Client: api, Cache: cache, Kinds: kinds(), ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		cache.Wait()
	})
	return api
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("waited in vain: " + what)
		}
	}
}

func pods(t *testing.T, api client.Client) []corev1.Pod {
	var l corev1.PodList
	if err := api.List(t.Context(), &l); err != nil {
		t.Fatal(err)
	}
	return l.Items
}

func exists(t *testing.T, api client.Client, namespace, name string, o client.Object) bool {
	err := api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, o)
	if client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	return err == nil
}

func TestALifeFromDeploymentToNothing(t *testing.T) {
	labels := map[string]string{"app": "web"}
	api := run(t,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Finalizers: []string{"emulated/spec-finalizers"}}, Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: corev1.ServiceSpec{Selector: labels, ClusterIP: "10.43.0.9", Ports: []corev1.ServicePort{{Port: 80}}}},
	)
	await(t, "namespaces, account, pod range", func() bool {
		n := &corev1.Node{}
		return exists(t, api, "", "kube-node-lease", &corev1.Namespace{}) && exists(t, api, "shop", "default", &corev1.ServiceAccount{}) &&
			exists(t, api, "", "n1", n) && n.Spec.PodCIDR == "10.42.0.0/24"
	})
	web := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: appsv1.DeploymentSpec{
		Replicas: ptr.To[int32](3), Selector: &metav1.LabelSelector{MatchLabels: labels}, Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "web:1"}}}},
	}}
	if err := api.Create(t.Context(), web); err != nil {
		t.Fatal(err)
	}
	await(t, "three pods", func() bool { return len(pods(t, api)) == 3 })
	for i, p := range pods(t, api) {
		p.Status.Phase, p.Status.PodIP = corev1.PodRunning, "10.42.0."+string(rune('2'+i))
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		if err := api.Status().Update(t.Context(), &p); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "endpoints", func() bool {
		var l discoveryv1.EndpointSliceList
		e := &corev1.Endpoints{}
		if err := api.List(t.Context(), &l, client.MatchingLabels{discoveryv1.LabelServiceName: "web"}); err != nil {
			t.Fatal(err)
		}
		return len(l.Items) == 1 && len(l.Items[0].Endpoints) == 3 && *l.Items[0].Ports[0].Port == 80 &&
			exists(t, api, "shop", "web", e) && len(e.Subsets) == 1 && len(e.Subsets[0].Addresses) == 3
	})
	await(t, "available", func() bool {
		return exists(t, api, "shop", "web", web) && web.Status.AvailableReplicas == 3 && web.Status.ObservedGeneration == web.Generation
	})
	if err := api.Delete(t.Context(), web); err != nil {
		t.Fatal(err)
	}
	await(t, "dependents collected", func() bool {
		var sets appsv1.ReplicaSetList
		if err := api.List(t.Context(), &sets); err != nil {
			t.Fatal(err)
		}
		return len(pods(t, api)) == 0 && len(sets.Items) == 0
	})
	if err := api.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}); err != nil {
		t.Fatal(err)
	}
	await(t, "namespace gone", func() bool {
		err := api.Get(t.Context(), client.ObjectKey{Name: "shop"}, &corev1.Namespace{})
		return apierrors.IsNotFound(err) && !exists(t, api, "shop", "web", &corev1.Service{})
	})
}

func TestUnknownControllersAreRefused(t *testing.T) {
	api := fakecluster.New(clock.RealClock{})
	_, err := reconciler.New(reconciler.Config{Client: api, Cache: api.NewCache(t.Context()), Controllers: []string{"*", "-deploiment"}})
	if err == nil || err.Error() != `reconciler: no controller "deploiment"` {
		t.Errorf("got %v", err)
	}
}

// TestWhatCannotBeSet: each is refused with its name before anything runs.
func TestWhatCannotBeSet(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]reconciler.Config{
		`no controller "nonsense"`:         {Controllers: []string{"*", "-nonsense"}},
		`no controller "deploiment"`:       {Workers: map[string]int{"deploiment": 3}},
		`"job" needs a worker`:             {Workers: map[string]int{"job": 0}},
		"must not be below the first":      {FirstRetry: time.Second, LastRetry: time.Millisecond},
		"must not be negative":             {Eviction: nodelife.Eviction{Rate: -1}},
		"unhealthy part of a zone must be": {Eviction: nodelife.Eviction{UnhealthyZone: 55}},
	} {
		if err := c.Settings(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	good := reconciler.Config{Controllers: []string{"*", "-job"}, Workers: map[string]int{"deployment": 20}, FirstRetry: time.Second, Eviction: nodelife.Eviction{Rate: 1}}
	if err := good.Settings(); err != nil {
		t.Error(err)
	}
}
