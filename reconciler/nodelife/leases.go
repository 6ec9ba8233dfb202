package nodelife

import (
	"context"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/controller"
)

// leaseDuration is how long a node's Lease is believed that does not say.
const leaseDuration = 40 * time.Second

// leases are those of nodes that no server hears, because their agents are not
// Headway's: they live as long as they renew their Lease. It is safe for
// concurrent use.
type leases struct {
	mu   sync.Mutex // guards seen and lost
	seen map[string]renewal
	// lost are the nodes whose Leases have run out: the next renewal matters.
	lost map[string]bool
}

// renewal is one by the other machine's clock, which may be wrong, and by ours.
type renewal struct{ renewed, at time.Time }

func newLeases() *leases { return &leases{seen: map[string]renewal{}, lost: map[string]bool{}} }

// left is for how long a node is believed to live; found is false when it has
// no Lease.
func (l *leases) left(ctx context.Context, c client.Reader, node string, now time.Time) (left time.Duration, found bool, err error) {
	lease := &coordinationv1.Lease{}
	err = c.Get(ctx, client.ObjectKey{Namespace: corev1.NamespaceNodeLease, Name: node}, lease)
	if client.IgnoreNotFound(err) != nil {
		return 0, false, fmt.Errorf("read lease of node %q: %w", node, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil || lease.Spec.RenewTime == nil {
		delete(l.seen, node)
		delete(l.lost, node)
		return 0, false, nil
	}
	duration := leaseDuration
	if s := ptr.Deref(lease.Spec.LeaseDurationSeconds, 0); s > 0 {
		duration = time.Duration(s) * time.Second
	}
	renewed := lease.Spec.RenewTime.Time
	last, ok := l.seen[node]
	switch {
	case !ok: // it may have ended before anybody looked
		last = renewal{renewed, renewed}
	case !last.renewed.Equal(renewed): // so much later by the other clock
		last = renewal{renewed, last.at.Add(renewed.Sub(last.renewed))}
		if now.Sub(last.at) >= duration { // which was wrong at first sight
			last.at = now
		}
	}
	if last.at.After(now) {
		last.at = now
	}
	l.seen[node] = last
	left = max(last.at.Add(duration).Sub(now), 0)
	if left == 0 {
		l.lost[node] = true
	} else {
		delete(l.lost, node)
	}
	return left, true, nil
}

func (l *leases) forget(node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.seen, node)
	delete(l.lost, node)
}

// renewed asks about a node that was lost and has renewed its Lease.
func (l *leases) renewed(_ context.Context, _, after *coordinationv1.Lease) []reconcile.Request {
	if after == nil || after.Namespace != corev1.NamespaceNodeLease {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.lost[after.Name] {
		return nil
	}
	return []reconcile.Request{controller.Named("", after.Name)}
}
