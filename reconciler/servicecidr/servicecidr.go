// Package servicecidr keeps a ServiceCIDR for as long as addresses of it are in
// use: it says in the Ready condition whether addresses are given out, and
// holds the object by a finalizer until no IPAddress needs it (KEP-1880).
//
//	created ──▶ finalizer, Ready=True ──▶ deleted: Ready=False (Terminating)
//	                                         │ last address free, or in another range
//	                                         ▼
//	                                       finalizer goes, and the object with it
package servicecidr

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/controller"
)

// Name is the account's.
const Name = "service-cidrs-controller"

// Finalizer holds a ServiceCIDR whose addresses are in use.
const Finalizer = "networking.k8s.io/service-cidr-finalizer"

// Reconciler looks after one ServiceCIDR at a time.
type Reconciler struct{ controller.Deps }

// New returns the controller.
func New(deps controller.Deps) (controller.Runnable, error) {
	r := &Reconciler{deps}
	return controller.New(Name, deps, 1, r,
		// What one range holds may be free to go when another one appears, and
		// the other way round.
		controller.On(deps.Cache, &networkingv1.ServiceCIDR{}, func(ctx context.Context, before, after *networkingv1.ServiceCIDR) []reconcile.Request {
			if after == nil || before == nil {
				return r.terminating(ctx, after)
			}
			return []reconcile.Request{controller.Named("", after.Name)}
		}),
		controller.On(deps.Cache, &networkingv1.IPAddress{}, func(ctx context.Context, _, after *networkingv1.IPAddress) []reconcile.Request {
			if after != nil {
				return nil // an address that is taken lets nothing go
			}
			return r.terminating(ctx, nil)
		}))
}

// terminating are the ranges that wait for addresses, and the one that is new.
func (r *Reconciler) terminating(ctx context.Context, also *networkingv1.ServiceCIDR) []reconcile.Request {
	var requests []reconcile.Request
	if also != nil {
		requests = append(requests, controller.Named("", also.Name))
	}
	var all networkingv1.ServiceCIDRList
	if err := r.Client.List(ctx, &all); err != nil {
		r.Logger.Error("list ServiceCIDRs", "err", err)
		return requests
	}
	for i := range all.Items {
		if all.Items[i].DeletionTimestamp != nil {
			requests = append(requests, controller.Named("", all.Items[i].Name))
		}
	}
	return requests
}

// Reconcile brings one ServiceCIDR's finalizer and condition to what they
// must be.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	c := &networkingv1.ServiceCIDR{}
	if err := r.Client.Get(ctx, req.NamespacedName, c); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if c.DeletionTimestamp == nil {
		return reconcile.Result{}, r.keep(ctx, c)
	}
	if !controllerutil.ContainsFinalizer(c, Finalizer) {
		return reconcile.Result{}, nil
	}
	return reconcile.Result{}, r.letGo(ctx, c)
}

func (r *Reconciler) keep(ctx context.Context, c *networkingv1.ServiceCIDR) error {
	if controllerutil.AddFinalizer(c, Finalizer) {
		if err := r.Client.Update(ctx, c); err != nil {
			return fmt.Errorf("hold ServiceCIDR %q: %w", c.Name, err)
		}
	}
	return r.say(ctx, c, metav1.Condition{Status: metav1.ConditionTrue, Message: "Kubernetes Service CIDR is ready"})
}

// letGo takes the finalizer away when no address needs the range.
func (r *Reconciler) letGo(ctx context.Context, c *networkingv1.ServiceCIDR) error {
	var ranges networkingv1.ServiceCIDRList
	if err := r.Client.List(ctx, &ranges); err != nil {
		return fmt.Errorf("list ServiceCIDRs: %w", err)
	}
	var taken networkingv1.IPAddressList
	if err := r.Client.List(ctx, &taken); err != nil {
		return fmt.Errorf("list IPAddresses: %w", err)
	}
	if Needed(c, ranges.Items, taken.Items) {
		return r.say(ctx, c, metav1.Condition{Status: metav1.ConditionFalse, Reason: networkingv1.ServiceCIDRReasonTerminating,
			Message: "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"})
	}
	controllerutil.RemoveFinalizer(c, Finalizer)
	if err := r.Client.Update(ctx, c); err != nil {
		return fmt.Errorf("let ServiceCIDR %q go: %w", c.Name, err)
	}
	return nil
}

// Needed tells whether an address that is taken lies in the range and in no
// other one that stays.
func Needed(c *networkingv1.ServiceCIDR, all []networkingv1.ServiceCIDR, taken []networkingv1.IPAddress) bool {
	own := prefixes(c)
	var others []netip.Prefix
	for i := range all {
		if all[i].Name != c.Name && all[i].DeletionTimestamp == nil {
			others = append(others, prefixes(&all[i])...)
		}
	}
	for i := range taken {
		ip, err := netip.ParseAddr(taken[i].Name)
		if err == nil && within(own, ip) && !within(others, ip) {
			return true
		}
	}
	return false
}

func within(ranges []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(ip) })
}

func prefixes(c *networkingv1.ServiceCIDR) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range c.Spec.CIDRs {
		if p, err := netip.ParsePrefix(text); err == nil {
			all = append(all, p)
		}
	}
	return all
}

// say writes the Ready condition when it changes.
func (r *Reconciler) say(ctx context.Context, c *networkingv1.ServiceCIDR, ready metav1.Condition) error {
	ready.Type = networkingv1.ServiceCIDRConditionReady
	if ready.Reason == "" {
		ready.Reason = ready.Type
	}
	ready.ObservedGeneration = c.Generation
	ready.LastTransitionTime = metav1.NewTime(r.Clock.Now())
	if !meta.SetStatusCondition(&c.Status.Conditions, ready) {
		return nil
	}
	if err := r.Client.Status().Update(ctx, c); err != nil {
		return fmt.Errorf("tell whether ServiceCIDR %q is ready: %w", c.Name, err)
	}
	return nil
}
