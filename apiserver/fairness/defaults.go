package fairness

import (
	"slices"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"

	"github.com/headway-sh/headway/api/txn"
)

var (
	// FlowSchemas and PriorityLevels are the resources that decide.
	FlowSchemas    = schema.GroupResource{Group: flowcontrolv1.GroupName, Resource: "flowschemas"}
	PriorityLevels = schema.GroupResource{Group: flowcontrolv1.GroupName, Resource: "prioritylevelconfigurations"}
)

// manager owns the fields that are kept up here.
const manager = "api-priority-and-fairness-config-producer-v1"

// levelsOf are the View's levels and those that there always are.
func levelsOf(view txn.View) []*flowcontrolv1.PriorityLevelConfiguration {
	var all []*flowcontrolv1.PriorityLevelConfiguration
	for o := range view.Each(PriorityLevels, "") {
		if l, ok := o.(*flowcontrolv1.PriorityLevelConfiguration); ok {
			all = append(all, l)
		}
	}
	for _, m := range bootstrap.MandatoryPriorityLevelConfigurations {
		if !slices.ContainsFunc(all, func(l *flowcontrolv1.PriorityLevelConfiguration) bool { return l.Name == m.Name }) {
			all = append(all, m)
		}
	}
	return all
}

// schemasOf are the View's schemas and those that there always are, in the
// order in which they are asked.
func schemasOf(view txn.View) []*flowcontrolv1.FlowSchema {
	var all []*flowcontrolv1.FlowSchema
	for o := range view.Each(FlowSchemas, "") {
		if s, ok := o.(*flowcontrolv1.FlowSchema); ok {
			all = append(all, s)
		}
	}
	for _, m := range bootstrap.MandatoryFlowSchemas {
		if !slices.ContainsFunc(all, func(s *flowcontrolv1.FlowSchema) bool { return s.Name == m.Name }) {
			all = append(all, m)
		}
	}
	byPrecedence(all)
	return all
}

// Changes are what brings the View's objects up to those that Kubernetes
// documents. The mandatory ones always have their own spec; a suggested one is
// left alone when its annotation apf.kubernetes.io/autoupdate-spec is "false".
func Changes(view txn.View) []txn.Change {
	var changes []txn.Change
	add := func(mandatory bool, want txn.Object) {
		if c, ok := change(view, want, mandatory); ok {
			changes = append(changes, c)
		}
	}
	for _, l := range bootstrap.MandatoryPriorityLevelConfigurations {
		add(true, l)
	}
	for _, l := range bootstrap.SuggestedPriorityLevelConfigurations {
		add(false, l)
	}
	for _, s := range bootstrap.MandatoryFlowSchemas {
		add(true, s)
	}
	for _, s := range bootstrap.SuggestedFlowSchemas {
		add(false, s)
	}
	return changes
}

func change(view txn.View, want txn.Object, mandatory bool) (txn.Change, bool) {
	resource := FlowSchemas
	if _, ok := want.(*flowcontrolv1.PriorityLevelConfiguration); ok {
		resource = PriorityLevels
	}
	c := txn.Change{Verb: txn.Create, Ref: txn.Ref{Resource: resource, Name: want.GetName()}, Version: "v1", FieldManager: manager}
	have, ok := view.Get(c.Ref)
	if !ok {
		c.Object = want.DeepCopyObject().(txn.Object)
		return c, true
	}
	updated := have.DeepCopyObject().(txn.Object)
	annotations := updated.GetAnnotations()
	follows := annotations[flowcontrolv1.AutoUpdateAnnotationKey]
	if follows == "" && have.GetGeneration() == 1 {
		follows = "true" // nobody has changed it since it was made
	}
	if mandatory {
		follows = "true"
	}
	if follows == "true" {
		take(updated, want)
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	if follows == "" {
		follows = "false"
	}
	annotations[flowcontrolv1.AutoUpdateAnnotationKey] = follows
	updated.SetAnnotations(annotations)
	c.Verb, c.Object = txn.Update, updated
	return c, !equality.Semantic.DeepEqual(have, updated)
}

// take copies a spec. The shares of the level exempt stay as people set them.
func take(o, want txn.Object) {
	switch o := o.(type) {
	case *flowcontrolv1.FlowSchema:
		o.Spec = *want.(*flowcontrolv1.FlowSchema).Spec.DeepCopy()
	case *flowcontrolv1.PriorityLevelConfiguration:
		exempt := o.Spec.Exempt
		o.Spec = *want.(*flowcontrolv1.PriorityLevelConfiguration).Spec.DeepCopy()
		if o.Spec.Exempt != nil && exempt != nil {
			o.Spec.Exempt = exempt
		}
	}
}
