package podgroup_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/internal/podgroup"
)

func selector(key, value string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
}

func group(t *testing.T, namespace string, peer networkingv1.NetworkPolicyPeer) podgroup.Group {
	t.Helper()
	g, ok, err := podgroup.Of(namespace, &peer)
	if err != nil || !ok {
		t.Fatalf("%v: %v, %v", peer, ok, err)
	}
	return g
}

func TestGroupsByWhatTheySay(t *testing.T) {
	t.Parallel()
	web := networkingv1.NetworkPolicyPeer{PodSelector: selector("app", "web")}
	if a, b := group(t, "shop", web).Key(), group(t, "shop", *web.DeepCopy()).Key(); a != b {
		t.Errorf("one group has the keys %s and %s", a, b)
	}
	both := web
	both.NamespaceSelector = &metav1.LabelSelector{}
	keys := map[podgroup.Key]bool{
		group(t, "shop", web).Key(): true, group(t, "lab", web).Key(): true, group(t, "shop", both).Key(): true,
		group(t, "shop", networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{}}).Key(): true, podgroup.All().Key(): true,
	}
	if len(keys) != 5 {
		t.Errorf("5 groups have %d keys", len(keys))
	}
	if got := group(t, "lab", networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{}}).Key(); got != podgroup.All().Key() {
		t.Errorf("all namespaces' pods are %s, not %s", got, podgroup.All().Key())
	}
}

func TestHas(t *testing.T) {
	t.Parallel()
	team := map[string]string{"team": "a"}
	web := map[string]string{"app": "web"}
	for name, c := range map[string]struct {
		peer      networkingv1.NetworkPolicyPeer
		namespace string
		labels    map[string]string
		want      bool
	}{
		"own namespace":             {networkingv1.NetworkPolicyPeer{PodSelector: selector("app", "web")}, "shop", web, true},
		"another namespace":         {networkingv1.NetworkPolicyPeer{PodSelector: selector("app", "web")}, "lab", web, false},
		"namespace by label":        {networkingv1.NetworkPolicyPeer{NamespaceSelector: selector("team", "a")}, "lab", nil, true},
		"namespace of another team": {networkingv1.NetworkPolicyPeer{NamespaceSelector: selector("team", "b")}, "lab", nil, false},
		"both":                      {networkingv1.NetworkPolicyPeer{NamespaceSelector: selector("team", "a"), PodSelector: selector("app", "web")}, "lab", web, true},
		"one of both":               {networkingv1.NetworkPolicyPeer{NamespaceSelector: selector("team", "a"), PodSelector: selector("app", "web")}, "lab", nil, false},
	} {
		if got := group(t, "shop", c.peer).Has(c.namespace, team, c.labels); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestNeeded(t *testing.T) {
	t.Parallel()
	block := networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0.0/8"}}
	web := networkingv1.NetworkPolicyPeer{PodSelector: selector("app", "web")}
	named := []networkingv1.NetworkPolicyPort{{Port: ptr.To(intstr.FromString("http"))}}
	policy := func(spec networkingv1.NetworkPolicySpec) *networkingv1.NetworkPolicy {
		return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}, Spec: spec}
	}
	webKey := group(t, "shop", web).Key()
	for name, c := range map[string]struct {
		spec networkingv1.NetworkPolicySpec
		want []podgroup.Key
	}{
		"addresses are no group":        {networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{block, web}, Ports: named}}}, []podgroup.Key{webKey}},
		"a name of selected pods' port": {networkingv1.NetworkPolicySpec{Egress: []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{web}, Ports: named}}}, []podgroup.Key{webKey}},
		"a name of any pod's port":      {networkingv1.NetworkPolicySpec{Egress: []networkingv1.NetworkPolicyEgressRule{{Ports: named}}}, []podgroup.Key{podgroup.All().Key()}},
		"selector that cannot be read": {networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{
			{PodSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}}}}}}}, nil},
	} {
		if diff := cmp.Diff(c.want, slices.Sorted(maps.Keys(podgroup.Needed(policy(c.spec))))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
