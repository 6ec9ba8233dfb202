package custom

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

type crd = apiextensionsv1.CustomResourceDefinition

// Definitions is the admission step that decides about definitions: which of
// the names that they ask for are free, whether they are established, and
// whether their group is theirs to define. What a definition leaves free goes,
// in the same transaction, to those that wanted it. The step also keeps new
// custom resources away from a definition that is being deleted.
func Definitions() write.Step {
	return write.Step{Name: "CustomResourceDefinition", Mutate: mutate, Gone: gone}
}

func mutate(_ context.Context, view txn.View, r *write.Request) error {
	if r.Ref.Resource != Resource {
		return whileServed(view, r)
	}
	if r.Operation == write.OperationDelete {
		return nil
	}
	o, ok := r.Object.(*crd)
	if !ok {
		return fmt.Errorf("a %T is no definition", r.Object)
	}
	old, _ := r.Old.(*crd)
	if r.Subresource == "" {
		resetStatus(o, old)
	}
	now := metav1.NewTime(r.Now.UTC().Truncate(1e9))
	decide(o, others(view, o), now)
	if old != nil {
		release(view, r, o, now)
	}
	return nil
}

// gone gives away the names of a definition that leaves the store.
func gone(_ context.Context, view txn.View, r *write.Request) error {
	if r.Ref.Resource == Resource {
		empty := &crd{ObjectMeta: metav1.ObjectMeta{Name: r.Ref.Name}}
		empty.Spec.Group = r.Old.(*crd).Spec.Group
		release(view, r, empty, metav1.NewTime(r.Now.UTC().Truncate(1e9)))
	}
	return nil
}

// whileServed lets a custom resource be created only while its definition is
// not being deleted.
func whileServed(view txn.View, r *write.Request) error {
	if r.Kind.Shape == nil || r.Operation != write.OperationCreate || r.Subresource != "" {
		return nil
	}
	d := definition(view, r.Ref.Resource)
	if d == nil {
		return nil
	}
	if apihelpers.IsCRDConditionTrue(d, apiextensionsv1.Terminating) {
		err := apierrors.NewMethodNotSupported(r.Ref.Resource, "create")
		err.ErrStatus.Message = "create not allowed while custom resource definition is terminating"
		return err
	}
	r.Decide(txn.Ref{Resource: Resource, Name: d.Name})
	return nil
}

// resetStatus takes the status away from who writes the definition itself: it
// begins with the storage version, and gains each version that is stored.
func resetStatus(o, old *crd) {
	o.Status = apiextensionsv1.CustomResourceDefinitionStatus{}
	if old != nil {
		o.Status = *old.Status.DeepCopy()
	}
	for _, v := range o.Spec.Versions {
		if v.Storage && !slices.Contains(o.Status.StoredVersions, v.Name) {
			o.Status.StoredVersions = append(o.Status.StoredVersions, v.Name)
		}
	}
}

// others are the further definitions of a definition's group.
func others(view txn.View, o *crd) []*crd {
	var list []*crd
	for other := range view.Each(Resource, "") {
		if d, ok := other.(*crd); ok && d.Spec.Group == o.Spec.Group && d.Name != o.Name {
			list = append(list, d)
		}
	}
	return list
}

// decide sets a definition's names and conditions.
func decide(o *crd, others []*crd, now metav1.Time) {
	accepted, condition := names(o, others)
	o.Status.AcceptedNames = accepted
	set(o, condition, now)
	switch was := apihelpers.FindCRDCondition(o, apiextensionsv1.Established); {
	case condition.Status == apiextensionsv1.ConditionTrue:
		set(o, apiextensionsv1.CustomResourceDefinitionCondition{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue,
			Reason: "InitialNamesAccepted", Message: "the initial names have been accepted"}, now)
	case was == nil || was.Status != apiextensionsv1.ConditionTrue:
		set(o, apiextensionsv1.CustomResourceDefinitionCondition{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionFalse,
			Reason: "NotAccepted", Message: "not all names are accepted"}, now)
	}
	if approval := approval(o); approval != nil {
		set(o, *approval, now)
	}
}

// set puts a condition into the status; its time moves only with its status.
func set(o *crd, c apiextensionsv1.CustomResourceDefinitionCondition, now metav1.Time) {
	c.LastTransitionTime = now
	if was := apihelpers.FindCRDCondition(o, c.Type); was != nil && was.Status == c.Status {
		c.LastTransitionTime = was.LastTransitionTime
		c.ObservedGeneration = was.ObservedGeneration
	}
	for i := range o.Status.Conditions {
		if o.Status.Conditions[i].Type == c.Type {
			o.Status.Conditions[i] = c
			return
		}
	}
	o.Status.Conditions = append(o.Status.Conditions, c)
}

// names decides which of the names that a definition wants it may have. What
// it has already it keeps.
func names(o *crd, others []*crd) (apiextensionsv1.CustomResourceDefinitionNames, apiextensionsv1.CustomResourceDefinitionCondition) {
	resources, kinds := map[string]bool{}, map[string]bool{}
	for _, other := range others {
		a := other.Status.AcceptedNames
		for _, name := range append([]string{a.Plural, a.Singular}, a.ShortNames...) {
			resources[name] = true
		}
		kinds[a.Kind], kinds[a.ListKind] = true, true
	}
	want, have := o.Spec.Names, *o.Status.AcceptedNames.DeepCopy()
	condition := apiextensionsv1.CustomResourceDefinitionCondition{Type: apiextensionsv1.NamesAccepted, Status: apiextensionsv1.ConditionTrue,
		Reason: "NoConflicts", Message: "no conflicts found"}
	take := func(reason, name string, accepted *string, used map[string]bool) {
		if name != *accepted && used[name] {
			condition.Status, condition.Reason, condition.Message = apiextensionsv1.ConditionFalse, reason, fmt.Sprintf("%q is already in use", name)
			return
		}
		*accepted = name
	}
	take("PluralConflict", want.Plural, &have.Plural, resources)
	take("SingularConflict", want.Singular, &have.Singular, resources)
	short := true
	for _, name := range want.ShortNames {
		if resources[name] && !slices.Contains(have.ShortNames, name) {
			short = false
			condition.Status, condition.Reason, condition.Message = apiextensionsv1.ConditionFalse, "ShortNamesConflict", fmt.Sprintf("%q is already in use", name)
		}
	}
	if short {
		have.ShortNames = slices.Clone(want.ShortNames)
	}
	take("KindConflict", want.Kind, &have.Kind, kinds)
	take("ListKindConflict", want.ListKind, &have.ListKind, kinds)
	have.Categories = slices.Clone(want.Categories)
	return have, condition
}

// release lets the definitions that wait for names look again, with o as it
// will be.
func release(view txn.View, r *write.Request, o *crd, now metav1.Time) {
	group := others(view, o)
	for i, waiting := range group {
		if !apihelpers.IsCRDConditionFalse(waiting, apiextensionsv1.NamesAccepted) {
			continue
		}
		next := waiting.DeepCopy()
		rest := append(slices.Delete(slices.Clone(group), i, i+1), o)
		decide(next, rest, now)
		if !equality.Semantic.DeepEqual(next.Status, waiting.Status) {
			group[i] = next
			r.Also(txn.Ref{Resource: Resource, Name: next.Name}, next)
		}
	}
}

// approval says whether a definition of a group that belongs to the community
// has been approved; nil for other groups.
func approval(o *crd) *apiextensionsv1.CustomResourceDefinitionCondition {
	if !apihelpers.IsProtectedCommunityGroup(o.Spec.Group) {
		return nil
	}
	c := &apiextensionsv1.CustomResourceDefinitionCondition{Type: apiextensionsv1.KubernetesAPIApprovalPolicyConformant, Status: apiextensionsv1.ConditionFalse}
	state, why := apihelpers.GetAPIApprovalState(o.Annotations)
	c.Message = why
	switch state {
	case apihelpers.APIApproved:
		c.Status, c.Reason = apiextensionsv1.ConditionTrue, "ApprovedAnnotation"
	case apihelpers.APIApprovalBypassed:
		c.Reason = "UnapprovedAnnotation"
	case apihelpers.APIApprovalMissing:
		c.Reason = "MissingAnnotation"
	default:
		c.Reason = "InvalidAnnotation"
	}
	return c
}
