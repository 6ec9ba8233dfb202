package fairness

import (
	"cmp"
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"github.com/headway-sh/headway/api/txn"
)

// Request is what is known of a request before it is let in.
type Request struct {
	Identity txn.Identity
	// Verb is the API's for resources, else the method in lower case.
	Verb string
	// IsResource tells which of the following count: the resource's, or Path.
	IsResource                   bool
	Group, Resource, Subresource string
	Namespace                    string
	Path                         string
	// Width is how many seats the request takes, at most limit; nil means one.
	Width func(limit int) int
	// Brief says that the request holds its seats only until it says so.
	Brief bool
}

// byPrecedence orders schemas as they are asked: the lower number first, among
// equals the name.
func byPrecedence(schemas []*flowcontrolv1.FlowSchema) {
	slices.SortFunc(schemas, func(a, b *flowcontrolv1.FlowSchema) int {
		return cmp.Or(cmp.Compare(a.Spec.MatchingPrecedence, b.Spec.MatchingPrecedence), strings.Compare(a.Name, b.Name))
	})
}

// matches tells whether a schema takes a request.
func matches(s *flowcontrolv1.FlowSchema, r *Request) bool {
	for i := range s.Spec.Rules {
		rule := &s.Spec.Rules[i]
		if !slices.ContainsFunc(rule.Subjects, func(s flowcontrolv1.Subject) bool { return isSubject(&s, &r.Identity) }) {
			continue
		}
		if r.IsResource && slices.ContainsFunc(rule.ResourceRules, r.isResource) || !r.IsResource && slices.ContainsFunc(rule.NonResourceRules, r.isPath) {
			return true
		}
	}
	return false
}

func isSubject(s *flowcontrolv1.Subject, id *txn.Identity) bool {
	switch s.Kind {
	case flowcontrolv1.SubjectKindUser:
		return s.User != nil && (s.User.Name == flowcontrolv1.NameAll || s.User.Name == id.Name)
	case flowcontrolv1.SubjectKindGroup:
		return s.Group != nil && (s.Group.Name == flowcontrolv1.NameAll || slices.Contains(id.Groups, s.Group.Name))
	case flowcontrolv1.SubjectKindServiceAccount:
		if s.ServiceAccount == nil {
			return false
		}
		account, ok := strings.CutPrefix(id.Name, "system:serviceaccount:"+s.ServiceAccount.Namespace+":")
		return ok && (s.ServiceAccount.Name == flowcontrolv1.NameAll || s.ServiceAccount.Name == account)
	}
	return false
}

func (r *Request) isResource(rule flowcontrolv1.ResourcePolicyRule) bool {
	name := r.Resource
	if r.Subresource != "" {
		name += "/" + r.Subresource
	}
	if !has(rule.Verbs, r.Verb) || !has(rule.APIGroups, r.Group) || !has(rule.Resources, name) {
		return false
	}
	if r.Namespace == "" {
		return rule.ClusterScope
	}
	return has(rule.Namespaces, r.Namespace)
}

func (r *Request) isPath(rule flowcontrolv1.NonResourcePolicyRule) bool {
	return has(rule.Verbs, r.Verb) && slices.ContainsFunc(rule.NonResourceURLs, func(pattern string) bool {
		below, all := strings.CutSuffix(pattern, "*")
		return pattern == r.Path || all && strings.HasPrefix(r.Path, below)
	})
}

// has tells whether a rule's list has a value; a lone "*" has every one.
func has(list []string, value string) bool {
	return len(list) == 1 && list[0] == "*" || slices.Contains(list, value)
}

// flow tells the flows of a schema apart.
func flow(s *flowcontrolv1.FlowSchema, r *Request) string {
	if m := s.Spec.DistinguisherMethod; m != nil {
		switch m.Type {
		case flowcontrolv1.FlowDistinguisherMethodByUserType:
			return r.Identity.Name
		case flowcontrolv1.FlowDistinguisherMethodByNamespaceType:
			return r.Namespace
		}
	}
	return ""
}
