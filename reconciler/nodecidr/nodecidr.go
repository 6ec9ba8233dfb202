// Package nodecidr gives every node its range of pod addresses. It writes
// spec.podCIDR and spec.podCIDRs of nodes that have none.
package nodecidr

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/controller"
)

// Name of the controller; it writes as the node controller's service account.
const Name = "nodecidr"

// NodeBits and NodeBits6 are the prefix lengths of a node's ranges.
const (
	NodeBits  = 24
	NodeBits6 = 64
)

// Reconciler gives one node at a time its range.
type Reconciler struct {
	controller.Deps
	// Clusters are the ranges of all pods, one of each family.
	Clusters []netip.Prefix
}

// New returns the controller. One worker: two could pick the same range.
func New(deps controller.Deps, clusters []netip.Prefix) (controller.Runnable, error) {
	return controller.New(Name, deps, 1, &Reconciler{deps, clusters}, controller.Self(deps.Cache, &corev1.Node{}))
}

// Reconcile does one pass over one node.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	n := &corev1.Node{}
	if err := r.Client.Get(ctx, req.NamespacedName, n); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if n.Spec.PodCIDR != "" || n.DeletionTimestamp != nil {
		return reconcile.Result{}, nil
	}
	var list corev1.NodeList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return reconcile.Result{}, fmt.Errorf("list nodes: %w", err)
	}
	var taken []netip.Prefix
	for i := range list.Items {
		for _, text := range list.Items[i].Spec.PodCIDRs {
			if p, err := netip.ParsePrefix(text); err == nil {
				taken = append(taken, p)
			}
		}
	}
	var ranges []string
	for _, cluster := range r.Clusters {
		bits := NodeBits
		if cluster.Addr().Is6() {
			bits = NodeBits6
		}
		free, ok := Free(cluster, bits, taken)
		if !ok {
			r.Events.Eventf(n, corev1.EventTypeNormal, "CIDRNotAvailable", "Node %s status is now: CIDRNotAvailable", n.Name)
			return reconcile.Result{}, fmt.Errorf("node %q: no free range in %s", n.Name, cluster)
		}
		ranges = append(ranges, free.String())
	}
	base := n.DeepCopy()
	n.Spec.PodCIDR, n.Spec.PodCIDRs = ranges[0], ranges
	if err := r.Client.Patch(ctx, n, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})); err != nil {
		return reconcile.Result{}, fmt.Errorf("give node %q its range: %w", n.Name, err)
	}
	return reconcile.Result{}, nil
}

// Free gives the first range of so many bits in the cluster's that overlaps
// none of the taken ones.
func Free(cluster netip.Prefix, bits int, taken []netip.Prefix) (netip.Prefix, bool) {
	cluster = cluster.Masked()
	if bits < cluster.Bits() {
		return netip.Prefix{}, false
	}
	used := map[netip.Prefix]bool{}
	var wider []netip.Prefix
	for _, t := range taken {
		if t.Bits() < bits {
			wider = append(wider, t)
			continue
		}
		if p, err := t.Addr().Prefix(bits); err == nil {
			used[p] = true
		}
	}
	for p := netip.PrefixFrom(cluster.Addr(), bits); cluster.Contains(p.Addr()); p = next(p) {
		overlaps := func(w netip.Prefix) bool { return w.Overlaps(p) }
		if !used[p] && !slices.ContainsFunc(wider, overlaps) {
			return p, true
		}
		if next(p).Addr().Less(p.Addr()) {
			break // the last there is
		}
	}
	return netip.Prefix{}, false
}

// next is the range after one, of the same size.
func next(p netip.Prefix) netip.Prefix {
	b := p.Addr().AsSlice()
	carry := 1 << (7 - (p.Bits()-1)%8)
	for i := (p.Bits() - 1) / 8; i >= 0 && carry > 0; i-- {
		sum := int(b[i]) + carry
		b[i], carry = byte(sum), sum>>8
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, p.Bits())
}
