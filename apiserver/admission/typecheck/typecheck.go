package typecheck

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/expression"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/store"
	"github.com/headway-sh/headway/apiserver/write"
)

// maxKinds bounds how many kinds a policy is checked against.
const maxKinds = 10

// manager owns the fields that are written.
const manager = "validatingadmissionpolicy-status"

var resource = schema.GroupResource{Group: admissionv1.GroupName, Resource: "validatingadmissionpolicies"}

// Store is what is read from.
type Store interface {
	Snapshot() *store.Snapshot
	Watch(ctx context.Context, options store.WatchOptions) (*store.Watcher, error)
}

// Schemas finds the schemas of kinds; nil: such a kind is not known.
type Schemas interface {
	Schema(gvk schema.GroupVersionKind) (*spec.Schema, error)
}

// Checker checks policies. All of it is required.
type Checker struct {
	Store Store
	Write *write.Path
	// Identity is who writes the status.
	Identity txn.Identity
	// ByGVR finds the row of a resource in a version that is served.
	ByGVR func(view txn.View, r schema.GroupVersionResource) (*kind.Kind, bool)
	// Schemas gives the schemas as they are now, for one policy after the other
	// until there is none left.
	Schemas func() Schemas
	Log     *slog.Logger
}

// Run checks policies until ctx ends.
func (c *Checker) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		now := c.Store.Snapshot()
		watcher, err := c.Store.Watch(ctx, store.WatchOptions{Resource: resource, From: now.Revision()})
		if err != nil {
			return ended(ctx, err)
		}
		var there []*admissionv1.ValidatingAdmissionPolicy
		for o := range now.Each(resource, "") {
			there = append(there, o.(*admissionv1.ValidatingAdmissionPolicy))
		}
		c.all(ctx, there)
		err = c.follow(ctx, watcher)
		watcher.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// ended tells a regular end from an error.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, store.ErrStopped) {
		return nil
	}
	return fmt.Errorf("follow policies: %w", err)
}

// follow checks what a watch delivers; it returns nil when the watch has to
// begin anew.
func (c *Checker) follow(ctx context.Context, watcher *store.Watcher) error {
	for {
		d, err := watcher.Next(ctx)
		if store.IsExpired(err) {
			return nil
		}
		if err != nil {
			return ended(ctx, err)
		}
		var changed []*admissionv1.ValidatingAdmissionPolicy
		for _, e := range d.Events {
			if e.Type != store.Deleted {
				changed = append(changed, e.Entry.Object.(*admissionv1.ValidatingAdmissionPolicy))
			}
		}
		c.all(ctx, changed)
	}
}

// all checks what is to be checked of the policies, and gives the memory back
// that it took: it may be long before there is another one.
func (c *Checker) all(ctx context.Context, policies []*admissionv1.ValidatingAdmissionPolicy) {
	if c.outdated(ctx, policies) {
		debug.FreeOSMemory()
	}
}

// outdated checks the policies whose status is not about their present spec,
// and tells whether there was one.
func (c *Checker) outdated(ctx context.Context, policies []*admissionv1.ValidatingAdmissionPolicy) bool {
	var schemas Schemas
	for _, p := range policies {
		if p.Status.ObservedGeneration == p.Generation && p.Status.TypeChecking != nil || p.DeletionTimestamp != nil {
			continue
		}
		if schemas == nil {
			schemas = c.Schemas()
		}
		if err := c.check(ctx, p, schemas); err != nil && ctx.Err() == nil {
			c.Log.Error("types of a policy are not checked", "policy", p.Name, "error", err)
		}
	}
	return schemas != nil
}

// check checks one policy and writes down what was found. A policy that has
// changed meanwhile comes again.
func (c *Checker) check(ctx context.Context, policy *admissionv1.ValidatingAdmissionPolicy, schemas Schemas) error {
	view := c.Store.Snapshot()
	kinds, err := typesOf(schemas, c.kinds(view, policy))
	if err != nil {
		return err
	}
	param, err := paramOf(schemas, policy)
	if err != nil {
		return err
	}
	warnings, err := expression.CheckTypes(&policy.Spec, kinds, param)
	if err != nil {
		return err
	}
	next := policy.DeepCopy()
	next.Status.ObservedGeneration = policy.Generation
	next.Status.TypeChecking = &admissionv1.TypeChecking{ExpressionWarnings: warnings}
	_, err = c.Write.Do(ctx, c.Identity, txn.Change{Verb: txn.Update, Ref: txn.Ref{Resource: resource, Name: policy.Name}, Version: "v1",
		Subresource: "status", Object: next, FieldManager: manager}, write.Options{})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func typesOf(schemas Schemas, kinds []schema.GroupVersionKind) ([]expression.Type, error) {
	var types []expression.Type
	for _, gvk := range kinds {
		s, err := schemas.Schema(gvk)
		if err != nil {
			return nil, err
		}
		if s != nil {
			types = append(types, expression.Type{GVK: gvk, Schema: s})
		}
	}
	return types, nil
}

func paramOf(schemas Schemas, policy *admissionv1.ValidatingAdmissionPolicy) (*expression.Type, error) {
	k := policy.Spec.ParamKind
	if k == nil {
		return nil, nil
	}
	t := &expression.Type{GVK: schema.FromAPIVersionAndKind(k.APIVersion, k.Kind)}
	var err error
	t.Schema, err = schemas.Schema(t.GVK)
	return t, err
}

// kinds are those that a policy's rules name, in order. A rule with a wildcard
// names none: what may come is not known.
func (c *Checker) kinds(view txn.View, policy *admissionv1.ValidatingAdmissionPolicy) []schema.GroupVersionKind {
	if policy.Spec.MatchConstraints == nil {
		return nil
	}
	var found []schema.GroupVersionKind
	for i := range policy.Spec.MatchConstraints.ResourceRules {
		r := &policy.Spec.MatchConstraints.ResourceRules[i]
		if wild(r.APIGroups) || wild(r.APIVersions) {
			continue
		}
		for _, group := range r.APIGroups {
			for _, version := range r.APIVersions {
				for _, plural := range r.Resources {
					k, ok := c.ByGVR(view, schema.GroupVersionResource{Group: group, Version: version, Resource: plural})
					if ok && !slices.Contains(found, k.GVK) {
						found = append(found, k.GVK)
					}
				}
			}
		}
	}
	slices.SortFunc(found, func(a, b schema.GroupVersionKind) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Kind, b.Kind))
	})
	return found[:min(len(found), maxKinds)]
}

func wild(list []string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return strings.Contains(s, "*") })
}
