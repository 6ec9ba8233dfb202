package nodecidr_test

import (
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/nodecidr"
)

func TestFreeRangesNeverOverlap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		cluster := netip.MustParsePrefix("10.42.0.0/20")
		taken := []netip.Prefix{netip.MustParsePrefix("10.42.4.0/23"), netip.MustParsePrefix("192.168.0.0/24")}
		for range rapid.IntRange(0, 20).Draw(t, "nodes") {
			p, ok := nodecidr.NewFree(cluster, 24, taken).Next()
			if !ok {
				break
			}
			if !cluster.Contains(p.Addr()) || p.Bits() != 24 {
				t.Fatalf("%s is not in %s", p, cluster)
			}
			for _, other := range taken {
				if other.Overlaps(p) {
					t.Fatalf("%s overlaps %s", p, other)
				}
			}
			taken = append(taken, p)
			if len(taken) > 2 && rapid.IntRange(0, 3).Draw(t, "leaves") == 0 {
				taken = taken[:len(taken)-1]
			}
		}
	})
	taken := []netip.Prefix{}
	for _, want := range []string{"fd00:10:244::/64", "fd00:10:244:1::/64", "fd00:10:244:2::/64"} {
		p, ok := nodecidr.NewFree(netip.MustParsePrefix("fd00:10:244::/56"), 64, taken).Next()
		if !ok || p.String() != want {
			t.Errorf("got %s, want %s", p, want)
		}
		taken = append(taken, p)
	}
	for _, full := range []string{"255.255.255.0/24", "ffff:ffff:ffff:ffff::/64"} {
		p := netip.MustParsePrefix(full)
		if got, ok := nodecidr.NewFree(p, p.Bits(), []netip.Prefix{p}).Next(); ok {
			t.Errorf("beyond the last range is %s", got)
		}
	}
	if _, ok := nodecidr.NewFree(netip.MustParsePrefix("10.0.0.0/24"), 24, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}).Next(); ok {
		t.Error("a full range has room")
	}
}

// TestNodesThatComeTogether have ranges of their own after one pass.
func TestNodesThatComeTogether(t *testing.T) {
	t.Parallel()
	api := fakecluster.New(clock.RealClock{})
	old := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "old"}, Spec: corev1.NodeSpec{PodCIDR: "10.42.1.0/24", PodCIDRs: []string{"10.42.1.0/24", "fd00::/64"}}}
	nodes := []client.Object{old}
	for i := range 5 {
		nodes = append(nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", i)}})
	}
	for _, n := range nodes {
		if err := api.Create(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	r := &nodecidr.Reconciler{Deps: controller.Deps{Client: api}, Clusters: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd00::/56")}}
	if _, err := r.Reconcile(t.Context(), controller.Named("", "n3")); err != nil {
		t.Fatal(err)
	}
	var list corev1.NodeList
	if err := api.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, n := range list.Items {
		if len(n.Spec.PodCIDRs) != 2 || n.Spec.PodCIDR != n.Spec.PodCIDRs[0] {
			t.Errorf("node %q has %v", n.Name, n.Spec.PodCIDRs)
		}
		for _, p := range n.Spec.PodCIDRs {
			if seen[p] {
				t.Errorf("%s twice", p)
			}
			seen[p] = true
		}
	}
}
