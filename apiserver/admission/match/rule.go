package match

import (
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/write"
)

// Exempt tells whether a request configures admission itself: neither webhooks
// nor policies are asked about it, or a broken one could not be taken away.
func Exempt(r *write.Request) bool {
	if r.Ref.Resource.Group != admissionv1.GroupName {
		return false
	}
	switch r.Ref.Resource.Resource {
	case "validatingwebhookconfigurations", "mutatingwebhookconfigurations",
		"validatingadmissionpolicies", "validatingadmissionpolicybindings",
		"mutatingadmissionpolicies", "mutatingadmissionpolicybindings":
		return true
	}
	return false
}

// Rules finds the version of the request's kind that one of the rules is
// about: the version of the request first, and with the policy Equivalent the
// others.
func Rules(rules []admissionv1.RuleWithOperations, policy *admissionv1.MatchPolicyType, r *write.Request) (*kind.Kind, bool) {
	for i := range rules {
		if Rule(&rules[i], r, r.Served) {
			return r.Served, true
		}
	}
	if policy == nil || *policy != admissionv1.Equivalent || len(r.Kind.Versions) == 0 {
		return nil, false
	}
	for i := range rules {
		if as, ok := equivalent(&rules[i], r); ok {
			return as, true
		}
	}
	return nil, false
}

// NamedRules is Rules for rules that may name their objects.
func NamedRules(rules []admissionv1.NamedRuleWithOperations, policy *admissionv1.MatchPolicyType, r *write.Request) (*kind.Kind, bool) {
	for i := range rules {
		if Rule(&rules[i].RuleWithOperations, r, r.Served) && named(&rules[i], r) {
			return r.Served, true
		}
	}
	if policy == nil || *policy != admissionv1.Equivalent || len(r.Kind.Versions) == 0 {
		return nil, false
	}
	for i := range rules {
		if as, ok := equivalent(&rules[i].RuleWithOperations, r); ok && named(&rules[i], r) {
			return as, true
		}
	}
	return nil, false
}

func named(rule *admissionv1.NamedRuleWithOperations, r *write.Request) bool {
	return len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, r.Ref.Name)
}

func equivalent(rule *admissionv1.RuleWithOperations, r *write.Request) (*kind.Kind, bool) {
	if r.Served != r.Kind && !r.Kind.Hidden && Rule(rule, r, r.Kind) {
		return r.Kind, true
	}
	for _, row := range r.Kind.Versions {
		if row != r.Served && !row.Hidden && Rule(rule, r, row) {
			return row, true
		}
	}
	return nil, false
}

// Rule tells whether a rule is about the request, had it been made in the
// version of a row of its kind.
func Rule(rule *admissionv1.RuleWithOperations, r *write.Request, as *kind.Kind) bool {
	return scope(rule.Scope, r.Kind.Namespaced) && operation(rule.Operations, r.Operation) &&
		has(rule.APIGroups, as.GVK.Group) && has(rule.APIVersions, as.GVK.Version) && resource(rule.Resources, as.Plural, r.Subresource)
}

func scope(want *admissionv1.ScopeType, namespaced bool) bool {
	if want == nil {
		return true
	}
	switch *want {
	case admissionv1.AllScopes:
		return true
	case admissionv1.NamespacedScope:
		return namespaced
	case admissionv1.ClusterScope:
		return !namespaced
	}
	return false
}

func operation(list []admissionv1.OperationType, is write.Operation) bool {
	for _, o := range list {
		if o == admissionv1.OperationAll || string(o) == string(is) {
			return true
		}
	}
	return false
}

func has(list []string, is string) bool {
	for _, s := range list {
		if s == "*" || s == is {
			return true
		}
	}
	return false
}

// resource understands pods, pods/status, pods/*, */status, * and */*.
func resource(list []string, plural, subresource string) bool {
	for _, s := range list {
		of, sub, _ := strings.Cut(s, "/")
		if (of == "*" || of == plural) && (sub == "*" || sub == subresource) {
			return true
		}
	}
	return false
}
