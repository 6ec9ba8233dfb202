// Package nodecidr gives every node its range of pod addresses. It writes
// spec.podCIDR and spec.podCIDRs of nodes that have none.
package nodecidr

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/controller"
)

// Name of the controller; it writes as the node controller's service account.
const Name = "nodecidr"

// NodeBits is the prefix length of a node's range.
const NodeBits = 24

// Reconciler gives one node at a time its range.
type Reconciler struct {
	controller.Deps
	Cluster netip.Prefix
}

// New returns the controller. One worker: two could pick the same range.
func New(deps controller.Deps, cluster netip.Prefix) (controller.Runnable, error) {
	return controller.New(Name, deps, 1, &Reconciler{deps, cluster}, controller.Self(deps.Cache, &corev1.Node{}))
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
		if p, err := netip.ParsePrefix(list.Items[i].Spec.PodCIDR); err == nil {
			taken = append(taken, p)
		}
	}
	free, ok := Free(r.Cluster, NodeBits, taken)
	if !ok {
		r.Events.Eventf(n, corev1.EventTypeNormal, "CIDRNotAvailable", "Node %s status is now: CIDRNotAvailable", n.Name)
		return reconcile.Result{}, fmt.Errorf("node %q: no free range in %s", n.Name, r.Cluster)
	}
	base := n.DeepCopy()
	n.Spec.PodCIDR, n.Spec.PodCIDRs = free.String(), []string{free.String()}
	if err := r.Client.Patch(ctx, n, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})); err != nil {
		return reconcile.Result{}, fmt.Errorf("give node %q its range: %w", n.Name, err)
	}
	return reconcile.Result{}, nil
}

// Free gives the first range of so many bits in the cluster's that overlaps
// none of the taken ones. Only IPv4.
func Free(cluster netip.Prefix, bits int, taken []netip.Prefix) (netip.Prefix, bool) {
	cluster = cluster.Masked()
	if bits < cluster.Bits() || !cluster.Addr().Is4() {
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
	b := cluster.Addr().As4()
	first := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
next:
	for i := range uint32(1) << (bits - cluster.Bits()) {
		a := first + i<<(32-bits)
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}), bits)
		if used[p] {
			continue
		}
		for _, w := range wider {
			if w.Overlaps(p) {
				continue next
			}
		}
		return p, true
	}
	return netip.Prefix{}, false
}
