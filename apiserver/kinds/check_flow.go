package kinds

import (
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// precedence keeps the first place for the schema of what is never queued.
func (c *checker) precedence(p *path, name string, n int32) {
	switch {
	case n <= 0:
		c.invalid(p, n, "must be a positive value")
	case n > flowcontrolv1.FlowSchemaMaxMatchingPrecedence:
		c.invalid(p, n, "must not be greater than "+number(flowcontrolv1.FlowSchemaMaxMatchingPrecedence))
	case n == 1 && name != flowcontrolv1.FlowSchemaNameExempt:
		c.invalid(p, n, "only the schema named 'exempt' may have matchingPrecedence 1")
	}
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
		c.flowResources(p.Child("resourceRules").Index(i), &r.ResourceRules[i])
	}
	for i := range r.NonResourceRules {
		at, rule := p.Child("nonResourceRules").Index(i), &r.NonResourceRules[i]
		c.flowVerbs(at, rule.Verbs)
		if c.someOrAll(at, "nonResourceURLs", rule.NonResourceURLs, "nonResourceURLs must contain at least one value", "non-resource URLs") {
			continue
		}
		for j, url := range rule.NonResourceURLs {
			c.flowURL(at.Child("nonResourceURLs").Index(j), url)
		}
	}
}

func (c *checker) flowResources(p *path, r *flowcontrolv1.ResourcePolicyRule) {
	c.flowVerbs(p, r.Verbs)
	c.someOrAll(p, "apiGroups", r.APIGroups, "resource rules must supply at least one api group", "api groups")
	c.someOrAll(p, "resources", r.Resources, "resource rules must supply at least one resource", "resources")
	if len(r.Namespaces) == 0 && r.ClusterScope {
		return
	}
	if c.someOrAll(p, "namespaces", r.Namespaces, "resource rules that are not cluster scoped must supply at least one namespace", "namespaces") {
		return
	}
	for i, namespace := range r.Namespaces {
		for _, m := range validation.IsDNS1123Label(namespace) {
			c.invalid(p.Child("namespaces").Index(i), namespace, "each member of this list must be '*' or a DNS-1123 label; "+m)
		}
	}
}

// someOrAll checks that a list has members, and that the star stands alone; it
// tells that the star is there.
func (c *checker) someOrAll(p *path, name string, list []string, none, others string) bool {
	all := slices.Contains(list, "*")
	switch {
	case len(list) == 0:
		c.required(p.Child(name), none)
	case all && len(list) > 1:
		c.invalid(p.Child(name), list, "if '*' is present, must not specify other "+others)
	}
	return all
}

var flowVerbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"}

func (c *checker) flowVerbs(p *path, verbs []string) {
	if c.someOrAll(p, "verbs", verbs, "verbs must contain at least one value", "verbs") {
		return
	}
	if slices.ContainsFunc(verbs, func(v string) bool { return !slices.Contains(flowVerbs, v) }) {
		c.add(field.NotSupported(p.Child("verbs"), verbs, flowVerbs))
	}
}

func (c *checker) flowURL(p *path, url string) {
	stars := strings.Count(url, "*")
	switch {
	case url == "":
		c.invalid(p, url, "must not be empty")
	case url[0] != '/':
		c.invalid(p, url, "must start with slash")
	case strings.Contains(url, " "):
		c.invalid(p, url, "must not contain white-space")
	case strings.Contains(url, "//"):
		c.invalid(p, url, "must not contain double slash")
	case stars > 1 || stars == 1 && !strings.HasSuffix(url, "/*"):
		c.invalid(p, url, "wildcard can only do suffix matching")
	}
}

// flowSubject checks that a subject has the member that its kind names, and no
// other.
func (c *checker) flowSubject(p *path, s *flowcontrolv1.Subject) {
	members := [...]struct {
		kind  flowcontrolv1.SubjectKind
		name  string
		set   bool
		check func(*path)
	}{
		{flowcontrolv1.SubjectKindGroup, "group", s.Group != nil, func(p *path) { c.flowName(p, s.Group.Name) }},
		{flowcontrolv1.SubjectKindServiceAccount, "serviceAccount", s.ServiceAccount != nil, func(p *path) { c.flowAccount(p, s.ServiceAccount) }},
		{flowcontrolv1.SubjectKindUser, "user", s.User != nil, func(p *path) { c.flowName(p, s.User.Name) }},
	}
	kinds := make([]flowcontrolv1.SubjectKind, len(members))
	for i, m := range members {
		kinds[i] = m.kind
	}
	if !slices.Contains(kinds, s.Kind) {
		c.add(field.NotSupported(p.Child("kind"), s.Kind, kinds))
		return
	}
	for _, m := range members {
		at := p.Child(m.name)
		switch {
		case m.kind != s.Kind && m.set:
			c.forbidden(at, m.name+" is forbidden when subject kind is not '"+string(m.kind)+"'")
		case m.kind == s.Kind && !m.set:
			c.required(at, m.name+" is required when subject kind is '"+string(m.kind)+"'")
		case m.set:
			m.check(at)
		}
	}
}

func (c *checker) flowName(p *path, name string) {
	if name == "" {
		c.required(p.Child("name"), "")
	}
}

func (c *checker) flowAccount(p *path, a *flowcontrolv1.ServiceAccountSubject) {
	if a.Name != flowcontrolv1.NameAll {
		c.dnsSubdomain(p, "name", a.Name)
	}
	if a.Namespace == "" {
		c.required(p.Child("namespace"), "must specify namespace for service account")
		return
	}
	c.dnsLabel(p, "namespace", a.Namespace)
}

func checkFlowSchemaStatus(o, _ *flowcontrolv1.FlowSchema) fieldErrors {
	var types []string
	for i := range o.Status.Conditions {
		types = append(types, string(o.Status.Conditions[i].Type))
	}
	return conditionTypes(types)
}

func checkPriorityLevelStatus(o, _ *flowcontrolv1.PriorityLevelConfiguration) fieldErrors {
	var types []string
	for i := range o.Status.Conditions {
		types = append(types, string(o.Status.Conditions[i].Type))
	}
	return conditionTypes(types)
}

// conditionTypes checks that conditions have types, each another.
func conditionTypes(types []string) fieldErrors {
	c := &checker{}
	var seen nameSet
	for i, t := range types {
		at := field.NewPath("status", "conditions").Index(i).Child("type")
		if !seen.add(t) {
			c.add(field.Duplicate(at, t))
		}
		if t == "" {
			c.required(at, "")
		}
	}
	return c.errs
}
