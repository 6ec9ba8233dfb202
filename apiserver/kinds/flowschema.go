package kinds

import (
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
		Subresources: map[string]kind.Subresource{"status": p.statusSubresource(nil)},
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
	c.dnsSubdomain(p.Child("priorityLevelConfiguration"), "name", s.PriorityLevelConfiguration.Name)
	if s.MatchingPrecedence < 1 || s.MatchingPrecedence > flowcontrolv1.FlowSchemaMaxMatchingPrecedence {
		c.invalid(p.Child("matchingPrecedence"), s.MatchingPrecedence,
			"must be between 1 and "+number(flowcontrolv1.FlowSchemaMaxMatchingPrecedence)+", inclusive")
	}
	if d := s.DistinguisherMethod; d != nil {
		oneOf(c, p.Child("distinguisherMethod"), "type", d.Type,
			flowcontrolv1.FlowDistinguisherMethodByNamespaceType, flowcontrolv1.FlowDistinguisherMethodByUserType)
	}
	for i := range s.Rules {
		c.flowRule(p.Child("rules").Index(i), &s.Rules[i])
	}
	return c.errs
}

func (c *checker) flowRule(p *path, r *flowcontrolv1.PolicyRulesWithSubjects) {
	if len(r.Subjects) == 0 {
		c.required(p.Child("subjects"), "subjects must contain at least one value")
	}
	for i := range r.Subjects {
		c.flowSubject(p.Child("subjects").Index(i), &r.Subjects[i])
	}
	if len(r.ResourceRules)+len(r.NonResourceRules) == 0 {
		c.required(p, "at least one of resourceRules and nonResourceRules has to be non-empty")
	}
	for i := range r.ResourceRules {
		at, rule := p.Child("resourceRules").Index(i), &r.ResourceRules[i]
		c.someOf(at, "verbs", rule.Verbs)
		c.someOf(at, "apiGroups", rule.APIGroups)
		c.someOf(at, "resources", rule.Resources)
		if len(rule.Namespaces) == 0 && !rule.ClusterScope {
			c.required(at.Child("namespaces"), "resource rules that are not cluster scoped must supply at least one namespace")
		}
	}
	for i := range r.NonResourceRules {
		at, rule := p.Child("nonResourceRules").Index(i), &r.NonResourceRules[i]
		c.someOf(at, "verbs", rule.Verbs)
		c.someOf(at, "nonResourceURLs", rule.NonResourceURLs)
	}
}

func (c *checker) someOf(p *path, name string, list []string) {
	if len(list) == 0 {
		c.required(p.Child(name), name+" must contain at least one value")
	}
}

func (c *checker) flowSubject(p *path, s *flowcontrolv1.Subject) {
	oneOf(c, p, "kind", s.Kind, flowcontrolv1.SubjectKindGroup, flowcontrolv1.SubjectKindServiceAccount, flowcontrolv1.SubjectKindUser)
	switch {
	case s.Kind == flowcontrolv1.SubjectKindUser && s.User == nil:
		c.required(p.Child("user"), "user is required when subject kind is 'User'")
	case s.Kind == flowcontrolv1.SubjectKindGroup && s.Group == nil:
		c.required(p.Child("group"), "group is required when subject kind is 'Group'")
	case s.Kind == flowcontrolv1.SubjectKindServiceAccount && s.ServiceAccount == nil:
		c.required(p.Child("serviceAccount"), "serviceAccount is required when subject kind is 'ServiceAccount'")
	}
}
