package kinds

import (
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apipath "k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiservercel "k8s.io/apiserver/pkg/cel"

	"github.com/headway-sh/headway/apiserver/expression"
)

// maxMatchConditions is how many conditions a webhook or policy may have.
const maxMatchConditions = 64

func (c *checker) admissionRule(p *path, r *admissionv1.RuleWithOperations) {
	if len(r.Operations) == 0 {
		c.required(p.Child("operations"), "")
	}
	if len(r.Operations) > 1 && slices.Contains(r.Operations, admissionv1.OperationAll) {
		c.invalid(p.Child("operations"), r.Operations, "if '*' is present, must not specify other operations")
	}
	for i, o := range r.Operations {
		supported := []admissionv1.OperationType{admissionv1.OperationAll, admissionv1.Connect, admissionv1.Create, admissionv1.Delete, admissionv1.Update}
		if !slices.Contains(supported, o) {
			c.add(field.NotSupported(p.Child("operations").Index(i), o, supported))
		}
	}
	c.anyOrSome(p.Child("apiGroups"), r.APIGroups, "API groups")
	c.anyOrSome(p.Child("apiVersions"), r.APIVersions, "API versions")
	for i, v := range r.APIVersions {
		if v == "" {
			c.required(p.Child("apiVersions").Index(i), "")
		}
	}
	c.ruleResources(p.Child("resources"), r.Resources)
	oneOfPtr(c, p, "scope", r.Scope, admissionv1.AllScopes, admissionv1.ClusterScope, admissionv1.NamespacedScope)
}

// anyOrSome checks a list that is "*" alone or has no "*".
func (c *checker) anyOrSome(p *path, list []string, what string) {
	if len(list) == 0 {
		c.required(p, "")
	}
	if len(list) > 1 && slices.Contains(list, "*") {
		c.invalid(p, list, "if '*' is present, must not specify other "+what)
	}
}

// ruleResources checks resources and subresources such as pods, pods/*,
// */scale, * and */*: none of them may be covered by another.
func (c *checker) ruleResources(p *path, list []string) {
	if len(list) == 0 {
		c.required(p, "")
	}
	whole, parts := map[string]bool{}, map[string]bool{} // x of x/*, y of */y
	bare := false
	for i, text := range list {
		if text == "" {
			c.required(p.Index(i), "")
			continue
		}
		resource, sub, found := strings.Cut(text, "/")
		if !found {
			bare = bare || text != "*"
			continue
		}
		if whole[resource] {
			c.invalid(p.Index(i), text, fmt.Sprintf("if '%s/*' is present, must not specify %s", resource, text))
		}
		if parts[sub] {
			c.invalid(p.Index(i), text, fmt.Sprintf("if '*/%s' is present, must not specify %s", sub, text))
		}
		whole[resource] = whole[resource] || sub == "*"
		parts[sub] = parts[sub] || resource == "*"
	}
	if len(list) > 1 && slices.Contains(list, "*/*") {
		c.invalid(p, list, "if '*/*' is present, must not specify other resources")
	}
	if bare && slices.Contains(list, "*") {
		c.invalid(p, list, "if '*' is present, must not specify other resources without subresources")
	}
}

func (c *checker) namedRules(p *path, rules []admissionv1.NamedRuleWithOperations) {
	for i := range rules {
		at, r := p.Index(i), &rules[i]
		for j, name := range r.ResourceNames {
			for _, problem := range apipath.ValidatePathSegmentName(name, false) {
				c.invalid(at.Child("resourceNames").Index(j), name, problem)
			}
			if slices.Contains(r.ResourceNames[:j], name) {
				c.add(field.Duplicate(at.Child("resourceNames").Index(j), name))
			}
		}
		c.admissionRule(at, &r.RuleWithOperations)
	}
}

func (c *checker) matchResources(p *path, m *admissionv1.MatchResources) {
	if m.MatchPolicy == nil {
		c.required(p.Child("matchPolicy"), "")
	}
	oneOfPtr(c, p, "matchPolicy", m.MatchPolicy, admissionv1.Equivalent, admissionv1.Exact)
	if m.NamespaceSelector == nil {
		c.required(p.Child("namespaceSelector"), "")
	}
	c.selector(p.Child("namespaceSelector"), m.NamespaceSelector)
	if m.ObjectSelector == nil {
		c.required(p.Child("objectSelector"), "")
	}
	c.selector(p.Child("objectSelector"), m.ObjectSelector)
	c.namedRules(p.Child("resourceRules"), m.ResourceRules)
	c.namedRules(p.Child("excludeResourceRules"), m.ExcludeResourceRules)
}

// matchConditions checks conditions; stored has the expressions that were
// accepted before.
func (c *checker) matchConditions(p *path, conditions []admissionv1.MatchCondition, by *expression.Checker, stored map[string]bool) {
	if len(conditions) > maxMatchConditions {
		c.add(field.TooMany(p, len(conditions), maxMatchConditions))
	}
	var names []string
	for i, m := range conditions {
		at := p.Index(i)
		if text := strings.TrimSpace(m.Expression); text == "" {
			c.required(at.Child("expression"), "")
		} else {
			c.compiles(at.Child("expression"), text, by.MatchCondition(text, stored[m.Expression]))
		}
		if m.Name == "" {
			c.required(at.Child("name"), "")
			continue
		}
		c.messages(at, "name", m.Name, validation.IsQualifiedName(m.Name))
		if slices.Contains(names, m.Name) {
			c.add(field.Duplicate(at.Child("name"), m.Name))
		}
		names = append(names, m.Name)
	}
}

// compiles reports what is wrong with an expression; the text says in which
// line and column.
func (c *checker) compiles(p *path, text string, err *apiservercel.Error) {
	switch {
	case err == nil:
	case err.Type == apiservercel.ErrorTypeRequired:
		c.required(p, err.Detail)
	case err.Type == apiservercel.ErrorTypeInvalid:
		c.invalid(p, text, err.Detail)
	default:
		c.add(field.InternalError(p, err))
	}
}
