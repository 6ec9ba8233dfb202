package admission

import (
	"context"
	"iter"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	quotav1 "k8s.io/apiserver/pkg/quota/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
	"github.com/headway-sh/headway/internal/quota"
)

var quotas = schema.GroupResource{Resource: "resourcequotas"}

// resourceQuota keeps what namespaces use within their ResourceQuotas. The use
// is written in the transaction of the object that uses, so that it is exact
// at every revision, and parallel writers cannot overdraw it together: whoever
// loses the race for the quota is planned again. It falls in the same way,
// when an object goes or asks for less.
//
// What rules limit may be had only where some quota covers it.
func resourceQuota(rules []quota.Rule) write.Step {
	return write.Step{
		Name: "ResourceQuota",
		Validate: func(_ context.Context, view txn.View, r *write.Request) error {
			if r.Operation == write.OperationDelete {
				return nil // it uses until it is gone
			}
			if err := covered(rules, view, r); err != nil {
				return err
			}
			return charge(view, r, r.Object)
		},
		Gone: func(_ context.Context, view txn.View, r *write.Request) error { return charge(view, r, nil) },
	}
}

// covered refuses what no quota covers although a rule wants one to.
func covered(rules []quota.Rule, view txn.View, r *write.Request) error {
	if len(rules) == 0 || r.Ref.Namespace == "" || r.Object == nil || r.Subresource != "" && r.Subresource != "resize" {
		return nil
	}
	var all []*corev1.ResourceQuota
	for o := range view.Each(quotas, r.Ref.Namespace) {
		all = append(all, o.(*corev1.ResourceQuota))
	}
	var old runtime.Object
	if r.Old != nil {
		old = r.Old
	}
	if err := quota.Uncovered(rules, all, r.Ref.Resource, old, r.Object, r.Now); err != nil {
		return forbidden(r, "%w", err)
	}
	return nil
}

// charge writes into each quota how much more or less the namespace uses with
// the new object in place of the old one.
func charge(view txn.View, r *write.Request, object txn.Object) error {
	if r.Ref.Namespace == "" || !quota.Counts(r.Ref.Resource) {
		return nil
	}
	for o := range view.Each(quotas, r.Ref.Namespace) {
		q := o.(*corev1.ResourceQuota)
		if r.Ref.Resource == quotas && r.Ref.Name == q.Name {
			continue // this very object is being written
		}
		if err := chargeOne(view, r, q, object); err != nil {
			return err
		}
	}
	return nil
}

func chargeOne(view txn.View, r *write.Request, q *corev1.ResourceQuota, object txn.Object) error {
	before, after := quota.Usage(q, r.Ref.Resource, r.Old, r.Now), quota.Usage(q, r.Ref.Resource, object, r.Now)
	if pod, ok := object.(*corev1.Pod); ok && (creates(r, podsResource) || r.Subresource == "resize") && quota.Scoped(q, podsResource, pod) {
		if err := quota.Unstated(q, pod); err != nil {
			return forbidden(r, "%w", err)
		}
	}
	change := quotav1.RemoveZeros(quotav1.Subtract(after, before))
	if len(change) == 0 {
		return nil
	}
	next := q.DeepCopy()
	if !quota.Current(q) {
		// A new limit that nobody has counted against yet holds all the same.
		next.Status = quota.Count(q, objectsOf(view, r.Ref.Namespace), r.Now)
	}
	if r.Subresource != "status" { // what has happened cannot be refused
		if err := quota.Exceeded(q, next.Status.Used, rises(change)); err != nil {
			return forbidden(r, "%w", err)
		}
	}
	next.Status.Used = notNegative(quotav1.Add(next.Status.Used, change))
	r.Also(txn.Ref{Resource: quotas, Namespace: q.Namespace, Name: q.Name}, next)
	return nil
}

// objectsOf gives the objects of a namespace by resource.
func objectsOf(view txn.View, namespace string) func(schema.GroupResource) iter.Seq[runtime.Object] {
	return func(resource schema.GroupResource) iter.Seq[runtime.Object] {
		return func(yield func(runtime.Object) bool) {
			for o := range view.Each(resource, namespace) {
				if !yield(o) {
					return
				}
			}
		}
	}
}

// rises are the quantities of which there is to be more.
func rises(change corev1.ResourceList) corev1.ResourceList {
	up := corev1.ResourceList{}
	for name, q := range change {
		if q.Sign() > 0 {
			up[name] = q
		}
	}
	return up
}

// notNegative keeps a use that was miscounted, or edited, from ending below nothing.
func notNegative(used corev1.ResourceList) corev1.ResourceList {
	for name, q := range used {
		if q.Sign() < 0 {
			used[name] = resource.Quantity{Format: q.Format}
		}
	}
	return used
}
