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

// Reconcile gives all nodes their ranges that have none, when the node that it
// is called for is one of them: many that come at once cost one look at all.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	n := &corev1.Node{}
	if err := r.Client.Get(ctx, req.NamespacedName, n); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !wants(n) {
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
	free := make([]*Free, len(r.Clusters))
	for i, cluster := range r.Clusters {
		free[i] = NewFree(cluster, bitsOf(cluster), taken)
	}
	var failed error
	for i := range list.Items {
		if other := &list.Items[i]; wants(other) {
			if err := r.give(ctx, other.DeepCopy(), free); err != nil && other.Name == n.Name {
				failed = err // the others are asked about by themselves
			}
		}
	}
	return reconcile.Result{}, failed
}

func wants(n *corev1.Node) bool { return n.Spec.PodCIDR == "" && n.DeletionTimestamp == nil }

func bitsOf(cluster netip.Prefix) int {
	if cluster.Addr().Is6() {
		return NodeBits6
	}
	return NodeBits
}

// give writes a range of each family into a node.
func (r *Reconciler) give(ctx context.Context, n *corev1.Node, free []*Free) error {
	var ranges []string
	for i, f := range free {
		p, ok := f.Next()
		if !ok {
			r.Events.Eventf(n, corev1.EventTypeNormal, "CIDRNotAvailable", "Node %s status is now: CIDRNotAvailable", n.Name)
			return fmt.Errorf("node %q: no free range in %s", n.Name, r.Clusters[i])
		}
		ranges = append(ranges, p.String())
	}
	base := n.DeepCopy()
	n.Spec.PodCIDR, n.Spec.PodCIDRs = ranges[0], ranges
	if err := r.Client.Patch(ctx, n, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("give node %q its range: %w", n.Name, err)
	}
	return nil
}

// Free are the ranges of one size in a larger one that overlap none of those
// that are taken.
type Free struct {
	cluster, at netip.Prefix // the next to look at; invalid: there is none
	used        map[netip.Prefix]bool
	wider       []netip.Prefix
}

// NewFree begins with the first range of so many bits in the cluster's.
func NewFree(cluster netip.Prefix, bits int, taken []netip.Prefix) *Free {
	f := &Free{cluster: cluster.Masked(), used: map[netip.Prefix]bool{}}
	if bits >= cluster.Bits() {
		f.at = netip.PrefixFrom(f.cluster.Addr(), bits)
	}
	for _, t := range taken {
		if t.Bits() < bits {
			f.wider = append(f.wider, t)
		} else if p, err := t.Addr().Prefix(bits); err == nil {
			f.used[p] = true
		}
	}
	return f
}

// Next gives the next free range.
func (f *Free) Next() (netip.Prefix, bool) {
	for f.at.IsValid() && f.cluster.Contains(f.at.Addr()) {
		p := f.at
		if f.at = next(p); f.at.Addr().Less(p.Addr()) {
			f.at = netip.Prefix{} // p was the last there is
		}
		overlaps := func(w netip.Prefix) bool { return w.Overlaps(p) }
		if !f.used[p] && !slices.ContainsFunc(f.wider, overlaps) {
			return p, true
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
