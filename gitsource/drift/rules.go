package drift

import (
	"path"
	"slices"
	"strings"
	"time"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/plan"
)

// Rules say what happens when somebody changes what a source says. They are
// not changed once made. The nil Rules correct everything.
type Rules struct {
	policy v1alpha1.DriftPolicy
	rules  []rule
}

type rule struct {
	v1alpha1.DriftRule
	fields [][]string // by path elements
}

// NewRules reads a source's spec.
func NewRules(spec *v1alpha1.DriftSpec) *Rules {
	r := &Rules{policy: spec.Policy}
	for _, one := range spec.Rules {
		parsed := rule{DriftRule: one}
		for _, f := range one.Fields {
			parsed.fields = append(parsed.fields, elements(f))
		}
		r.rules = append(r.rules, parsed)
	}
	return r
}

// For is the policy of a field of an entry at a time; the empty field is the
// object as a whole.
func (r *Rules) For(e *plan.Entry, field string, now time.Time) v1alpha1.DriftPolicy {
	if r == nil {
		return v1alpha1.DriftCorrect
	}
	if len(r.rules) == 0 {
		return r.policy
	}
	at := elements(field)
	for i := range r.rules {
		if one := &r.rules[i]; one.about(e, now) && one.has(at) {
			return one.Policy
		}
	}
	return r.policy
}

// Lenient tells whether any field of an entry may be left as somebody else has
// it, so that it is worth looking at each: with a commit what is allowed only,
// otherwise what is reported, too.
func (r *Rules) Lenient(e *plan.Entry, commit bool, now time.Time) bool {
	leaves := func(p v1alpha1.DriftPolicy) bool {
		return p == v1alpha1.DriftAllow || !commit && (p == v1alpha1.DriftReport || p == v1alpha1.DriftWarn)
	}
	return r != nil && (leaves(r.policy) || slices.ContainsFunc(r.rules, func(one rule) bool { return leaves(one.Policy) && one.about(e, now) }))
}

// Next is when the next rule ends by itself; zero for never.
func (r *Rules) Next(now time.Time) time.Time {
	var next time.Time
	if r == nil {
		return next
	}
	for _, one := range r.rules {
		if u := one.Until; u != nil && u.After(now) && (next.IsZero() || u.Time.Before(next)) {
			next = u.Time
		}
	}
	return next
}

// about tells whether a rule speaks of an entry at a time.
func (r *rule) about(e *plan.Entry, now time.Time) bool {
	if r.Until != nil && !now.Before(r.Until.Time) {
		return false
	}
	file, _ := v1alpha1.ParseOrigin(e.Origin)
	return matches(r.Paths, file, true) && matches(r.Namespaces, e.Namespace, false) && matches(r.Names, e.Name, false) &&
		(len(r.Kinds) == 0 || slices.ContainsFunc(r.Kinds, func(k string) bool { return strings.EqualFold(k, e.Kind) || k == e.Resource }))
}

// has tells whether a rule's fields contain a path. A rule without fields is
// about everything; one with fields never about an object as a whole.
func (r *rule) has(at []string) bool {
	if len(r.fields) == 0 {
		return true
	}
	return slices.ContainsFunc(r.fields, func(want []string) bool {
		if len(want) > len(at) {
			return false
		}
		for i, w := range want {
			if w != at[i] && w != "[*]" && w != "*" {
				return false
			}
		}
		return true
	})
}

// matches tells whether one of the patterns fits; none at all fits everything.
// A pattern of a path also fits what lies below it.
func matches(patterns []string, s string, below bool) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool {
		if ok, err := path.Match(p, s); err == nil && ok {
			return true
		}
		for dir := s; below; {
			if dir = path.Dir(dir); dir == "." || dir == "/" {
				return false
			}
			if ok, err := path.Match(p, dir); err == nil && ok {
				return true
			}
		}
		return false
	})
}

// elements cuts "spec.containers[name=\"web\"].image" into spec, containers,
// [name="web"] and image; keys in quotes become plain elements.
func elements(s string) []string {
	var out []string
	for s != "" {
		switch {
		case s[0] == '.':
			s = s[1:]
		case s[0] == '[':
			end := closing(s)
			inner := s[1:end]
			if len(inner) > 1 && inner[0] == '"' && inner[len(inner)-1] == '"' {
				out = append(out, inner[1:len(inner)-1])
			} else {
				out = append(out, "["+inner+"]")
			}
			s = s[min(len(s), end+1):]
		default:
			end := strings.IndexAny(s, ".[")
			if end < 0 {
				end = len(s)
			}
			out = append(out, s[:end])
			s = s[end:]
		}
	}
	return out
}

// closing finds the bracket that ends the one at the beginning, quotes aside.
func closing(s string) int {
	quoted := false
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"' && s[i-1] != '\\':
			quoted = !quoted
		case s[i] == ']' && !quoted:
			return i
		}
	}
	return len(s)
}
