package kinds

import (
	"slices"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

const defaultMatchingPrecedence = 1000

func flowSchemaKind() *kind.Kind {
	p := partsOf(func(o *flowcontrolv1.FlowSchema) *flowcontrolv1.FlowSchemaSpec { return &o.Spec },
		func(o *flowcontrolv1.FlowSchema) *flowcontrolv1.FlowSchemaStatus { return &o.Status })
	doc := flowcontrolv1.FlowSchemaSpec{}.SwaggerDoc()
	return &kind.Kind{
		GVK:           flowcontrolv1.SchemeGroupVersion.WithKind("FlowSchema"),
		Plural:        "flowschemas",
		Singular:      "flowschema",
		StoragePrefix: "flowschemas",
		New:           func() txn.Object { return &flowcontrolv1.FlowSchema{} },
		NewList:       func() runtime.Object { return &flowcontrolv1.FlowSchemaList{} },
		Default: defaults(func(o *flowcontrolv1.FlowSchema) {
			if o.Spec.MatchingPrecedence == 0 {
				o.Spec.MatchingPrecedence = defaultMatchingPrecedence
			}
		}),
		Prepare:      p.main,
		Subresources: map[string]kind.Subresource{"status": p.bareStatusSubresource(checkFlowSchemaStatus)},
		Validate:     validate(checkFlowSchema),
		Columns: []column{
			nameColumn(), str("PriorityLevel", doc["priorityLevelConfiguration"]), integer("MatchingPrecedence", doc["matchingPrecedence"]),
			str("DistinguisherMethod", doc["distinguisherMethod"]), ageColumn(),
			str("MissingPL", "This level has a missing priority level."),
		},
		Row: row(flowSchemaRow),
	}
}

func flowSchemaRow(o *flowcontrolv1.FlowSchema, now time.Time) []any {
	method := none
	if d := o.Spec.DistinguisherMethod; d != nil {
		method = string(d.Type)
	}
	dangling := "?"
	for _, c := range o.Status.Conditions {
		if c.Type == flowcontrolv1.FlowSchemaConditionDangling {
			dangling = string(c.Status)
		}
	}
	return []any{o.Name, o.Spec.PriorityLevelConfiguration.Name, int64(o.Spec.MatchingPrecedence), method, age(o, now), dangling}
}

func checkFlowSchema(o, _ *flowcontrolv1.FlowSchema) fieldErrors {
	c := &checker{}
	p, s := field.NewPath("spec"), &o.Spec
	if n := s.PriorityLevelConfiguration.Name; n == "" {
		c.required(p.Child("priorityLevelConfiguration", "name"), "must reference a priority level")
	} else {
		c.dnsSubdomain(p.Child("priorityLevelConfiguration"), "name", n)
	}
	c.precedence(p.Child("matchingPrecedence"), o.Name, s.MatchingPrecedence)
	methods := []flowcontrolv1.FlowDistinguisherMethodType{flowcontrolv1.FlowDistinguisherMethodByNamespaceType, flowcontrolv1.FlowDistinguisherMethodByUserType}
	if d := s.DistinguisherMethod; d != nil && !slices.Contains(methods, d.Type) {
		// The whole method is shown, by the name that its field has inside.
		value := struct {
			Type flowcontrolv1.FlowDistinguisherMethodType
		}{d.Type}
		c.add(field.NotSupported(p.Child("distinguisherMethod", "type"), value, methods))
	}
	for i := range s.Rules {
		c.flowRule(p.Child("rules").Index(i), &s.Rules[i])
	}
	return c.errs
}
