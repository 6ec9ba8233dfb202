package networkpolicy_test

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/clock"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/internal/podgroup"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/networkpolicy"
)

func pod(namespace, name, app string, ips ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(namespace + name), Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}}}}}
	for _, ip := range ips {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	return p
}

func namespace(name, team string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"team": team}}}
}

// policy lets in what the peers say.
func policy(name string, peers ...networkingv1.NetworkPolicyPeer) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec: networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{From: peers}}}}
}

var (
	byPod  = networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}
	byTeam = networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "a"}}}
)

// rig is the controller on an emulated API.
type rig struct {
	*fakecluster.Cluster
	changes watch.Interface
}

func start(t *testing.T, objects ...client.Object) *rig {
	t.Helper()
	api := fakecluster.New(clock.RealClock{}, objects...)
	cache := api.NewCache(t.Context())
	c, err := networkpolicy.New(controller.Deps{Client: api, Cache: cache, Clock: clock.RealClock{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	changes, err := api.Watch(t.Context(), &discoveryv1.EndpointSliceList{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(changes.Stop)
	done := make(chan error, 1)
	go func() { done <- c.Start(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
		cache.Wait()
	})
	return &rig{api, changes}
}

// until waits until the members of a peer's group are those.
func (r *rig) until(t *testing.T, peer networkingv1.NetworkPolicyPeer, want ...string) {
	t.Helper()
	g, _, err := podgroup.Of("shop", &peer)
	if err != nil {
		t.Fatal(err)
	}
	for {
		var list discoveryv1.EndpointSliceList
		if err := r.List(t.Context(), &list, client.InNamespace(podgroup.Namespace), client.MatchingLabels{podgroup.Label: string(g.Key())}); err != nil {
			t.Fatal(err)
		}
		var got []string
		for i := range list.Items {
			got = append(got, members(&list.Items[i])...)
		}
		if slices.Sort(got); slices.Equal(got, want) {
			return
		}
		select {
		case <-r.changes.ResultChan():
		case <-t.Context().Done():
			t.Fatalf("members are %v, want %v", got, want)
		}
	}
}

func members(s *discoveryv1.EndpointSlice) (all []string) {
	for _, e := range s.Endpoints {
		text := e.Addresses[0]
		for _, p := range s.Ports {
			text += fmt.Sprintf(" %s=%d", *p.Name, *p.Port)
		}
		all = append(all, text)
	}
	return all
}

func (r *rig) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestGroupsFollowPoliciesPodsAndNamespaces(t *testing.T) {
	t.Parallel()
	host := pod("shop", "host", "web", "192.0.2.1")
	host.Spec.HostNetwork = true
	ended := pod("shop", "ended", "web", "10.0.0.9")
	ended.Status.Phase = corev1.PodSucceeded
	stale := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: podgroup.Namespace, Name: "stale", Labels: map[string]string{
		discoveryv1.LabelManagedBy: podgroup.ManagedBy, podgroup.Label: "0123456789abcdef"}}}
	r := start(t, namespace("shop", "b"), namespace("lab", "a"), host, ended, stale,
		pod("shop", "web", "web", "10.0.0.1", "fd00::1"), pod("lab", "web", "web", "10.0.1.1"), pod("shop", "waits", "web"))
	first, second := policy("one", byPod), policy("two", byPod, byTeam)
	r.must(t, r.Create(t.Context(), first))
	r.until(t, byPod, "10.0.0.1 tcp-http=8080", "fd00::1 tcp-http=8080")
	r.must(t, r.Create(t.Context(), second))
	r.until(t, byTeam, "10.0.1.1 tcp-http=8080")

	starts := &corev1.Pod{}
	r.must(t, r.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "waits"}, starts))
	starts.Status.PodIPs = []corev1.PodIP{{IP: "10.0.0.2"}}
	r.must(t, r.Status().Update(t.Context(), starts))
	r.until(t, byPod, "10.0.0.1 tcp-http=8080", "10.0.0.2 tcp-http=8080", "fd00::1 tcp-http=8080")
	starts.Labels["app"] = "db"
	r.must(t, r.Update(t.Context(), starts))
	r.until(t, byPod, "10.0.0.1 tcp-http=8080", "fd00::1 tcp-http=8080")

	lab := namespace("lab", "c")
	r.must(t, r.Patch(t.Context(), lab, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"team":"c"}}}`))))
	r.until(t, byTeam)
	r.must(t, r.Delete(t.Context(), first))
	r.must(t, r.Delete(t.Context(), pod("shop", "web", "web")))
	r.until(t, byPod)
	// Slices of groups that nobody speaks of are gone, those of an earlier life too.
	r.must(t, r.Delete(t.Context(), second))
	for {
		var list discoveryv1.EndpointSliceList
		r.must(t, r.List(t.Context(), &list))
		if len(list.Items) == 0 {
			return
		}
		<-r.changes.ResultChan()
	}
}

// TestSlicesAlwaysShowTheGroup: after every change each pod is shown once per
// family with its ports, no slice is too long, another pass writes nothing, and
// one pod's change is one write.
func TestSlicesAlwaysShowTheGroup(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		slicesNow, next, pods := map[string]*discoveryv1.EndpointSlice{}, 0, map[int]*corev1.Pod{}
		pass := func() int {
			var list []*corev1.Pod
			for i := range 300 {
				if pods[i] != nil {
					list = append(list, pods[i])
				}
			}
			var existing []*discoveryv1.EndpointSlice
			for i := range next {
				if s := slicesNow[fmt.Sprint(i)]; s != nil {
					existing = append(existing, s)
				}
			}
			p := networkpolicy.Compute("k", list, existing)
			for _, s := range p.Delete {
				delete(slicesNow, s.Name)
			}
			for _, s := range p.Update {
				slicesNow[s.Name] = s
			}
			for _, s := range p.Create {
				s.Name = fmt.Sprint(next)
				next++
				slicesNow[s.Name] = s
			}
			return len(p.Create) + len(p.Update) + len(p.Delete)
		}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			first, n := rapid.IntRange(0, 150).Draw(t, "first"), rapid.SampledFrom([]int{1, 1, 40, 149}).Draw(t, "count")
			port, remove := rapid.SampledFrom([]int32{80, 8080}).Draw(t, "port"), rapid.Bool().Draw(t, "remove")
			moved := 0
			for i := first; i < first+n; i++ {
				if remove {
					delete(pods, i)
					continue
				}
				if pods[i] != nil && pods[i].Spec.Containers[0].Ports[0].ContainerPort != port {
					moved++
				}
				pods[i] = pod("shop", fmt.Sprint("p", i), "web", fmt.Sprintf("10.0.%d.%d", i/200, i%200+1))
				pods[i].Spec.Containers[0].Ports[0].ContainerPort = port
			}
			if writes := pass(); n == 1 && writes > 1+moved {
				t.Fatalf("one pod's change was written %d times", writes)
			}
			seen := map[string]int{}
			for _, s := range slicesNow {
				if len(s.Endpoints) > 100 || len(s.Endpoints) == 0 {
					t.Fatalf("%d endpoints in a slice", len(s.Endpoints))
				}
				for _, m := range members(s) {
					seen[m]++
				}
			}
			for _, p := range pods {
				want := fmt.Sprintf("%s tcp-http=%d", p.Status.PodIPs[0].IP, p.Spec.Containers[0].Ports[0].ContainerPort)
				if seen[want] != 1 {
					t.Fatalf("%s is shown %d times", want, seen[want])
				}
			}
			if len(seen) != len(pods) {
				t.Fatalf("%d members of %d pods", len(seen), len(pods))
			}
			if writes := pass(); writes != 0 {
				t.Fatalf("a second pass writes %d times", writes)
			}
		}
	})
}
