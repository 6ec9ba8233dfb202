// Package clusterrole writes the rules of aggregated ClusterRoles: the rules
// of all ClusterRoles that their selectors match, each once.
package clusterrole

import (
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/controller"
)

// Name is the controller's, and its service account's in kube-system.
const Name = "clusterrole-aggregation-controller"

// Reconciler aggregates one role at a time.
type Reconciler struct{ controller.Deps }

// New returns the controller.
func New(deps controller.Deps) (controller.Runnable, error) {
	r := &Reconciler{deps}
	return controller.New(Name, deps, 1, r, controller.On(deps.Cache, &rbacv1.ClusterRole{}, r.aggregated))
}

// aggregated asks all aggregated roles after any change: there are few.
func (r *Reconciler) aggregated(ctx context.Context, _, _ *rbacv1.ClusterRole) []reconcile.Request {
	var list rbacv1.ClusterRoleList
	if err := r.Cache.List(ctx, &list); err != nil {
		r.Logger.Warn("list cluster roles", "err", err)
		return nil
	}
	var out []reconcile.Request
	for i := range list.Items {
		if list.Items[i].AggregationRule != nil {
			out = append(out, controller.Named("", list.Items[i].Name))
		}
	}
	return out
}

// Reconcile writes the rules of one aggregated role.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	role := &rbacv1.ClusterRole{}
	if err := r.Client.Get(ctx, req.NamespacedName, role); err != nil || role.AggregationRule == nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	var list rbacv1.ClusterRoleList
	if err := r.Client.List(ctx, &list); err != nil {
		return reconcile.Result{}, fmt.Errorf("list cluster roles: %w", err)
	}
	rules, err := Rules(role, list.Items)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("aggregate %q: %w", role.Name, err)
	}
	if equality.Semantic.DeepEqual(rules, role.Rules) {
		return reconcile.Result{}, nil
	}
	role.Rules = rules
	if err := r.Client.Update(ctx, role); err != nil {
		return reconcile.Result{}, fmt.Errorf("write rules of %q: %w", role.Name, err)
	}
	return reconcile.Result{}, nil
}

// Rules are the rules of all that the role aggregates, in the order of its
// selectors and their names.
func Rules(role *rbacv1.ClusterRole, all []rbacv1.ClusterRole) ([]rbacv1.PolicyRule, error) {
	all = slices.SortedFunc(slices.Values(all), func(a, b rbacv1.ClusterRole) int { return strings.Compare(a.Name, b.Name) })
	var rules []rbacv1.PolicyRule
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return nil, err
		}
		for _, other := range all {
			if other.Name == role.Name || !selector.Matches(labels.Set(other.Labels)) {
				continue
			}
			for _, rule := range other.Rules {
				if !slices.ContainsFunc(rules, func(have rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(have, rule) }) {
					rules = append(rules, rule)
				}
			}
		}
	}
	return rules, nil
}
