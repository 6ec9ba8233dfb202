package kinds

import (
	rbacv1 "k8s.io/api/rbac/v1"
	apipath "k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// rbacName allows what is a segment of a URL path: "system:node" is a name.
func rbacName(name string, prefix bool) []string {
	if prefix {
		return apipath.IsValidPathSegmentPrefix(name)
	}
	return apipath.IsValidPathSegmentName(name)
}

func checkRole(o, _ *rbacv1.Role) fieldErrors {
	c := &checker{}
	c.rules(o.Rules, true)
	return c.errs
}

func checkClusterRole(o, _ *rbacv1.ClusterRole) fieldErrors {
	c := &checker{}
	c.rules(o.Rules, false)
	if o.AggregationRule != nil {
		p := field.NewPath("aggregationRule", "clusterRoleSelectors")
		if len(o.AggregationRule.ClusterRoleSelectors) == 0 {
			c.required(p, "at least one clusterRoleSelector required if aggregationRule is non-nil")
		}
		for i := range o.AggregationRule.ClusterRoleSelectors {
			s := &o.AggregationRule.ClusterRoleSelectors[i]
			c.selector(p.Index(i), s)
			if _, err := metav1.LabelSelectorAsSelector(s); err != nil {
				c.invalid(p.Index(i), nil, "invalid label selector.")
			}
		}
	}
	return c.errs
}

func (c *checker) rules(rules []rbacv1.PolicyRule, namespaced bool) {
	for i := range rules {
		r := &rules[i]
		p := field.NewPath("rules").Index(i)
		if len(r.Verbs) == 0 {
			c.required(p.Child("verbs"), "")
		}
		if len(r.NonResourceURLs) > 0 {
			if namespaced {
				c.invalid(p.Child("nonResourceURLs"), r.NonResourceURLs, "namespaced rules cannot apply to non-resource URLs")
			}
			if len(r.APIGroups)+len(r.Resources)+len(r.ResourceNames) > 0 {
				c.invalid(p.Child("nonResourceURLs"), r.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs")
			}
			continue
		}
		if len(r.APIGroups) == 0 {
			c.required(p.Child("apiGroups"), "resource rules must supply at least one api group")
		}
		if len(r.Resources) == 0 {
			c.required(p.Child("resources"), "resource rules must supply at least one resource")
		}
	}
}

func checkRoleBinding(o, old *rbacv1.RoleBinding) fieldErrors {
	c := &checker{}
	c.roleRef(&o.RoleRef, "Role", "ClusterRole")
	c.subjects(o.Subjects, true)
	if old != nil {
		c.sameRole(o.RoleRef, old.RoleRef)
	}
	return c.errs
}

func checkClusterRoleBinding(o, old *rbacv1.ClusterRoleBinding) fieldErrors {
	c := &checker{}
	c.roleRef(&o.RoleRef, "ClusterRole")
	c.subjects(o.Subjects, false)
	if old != nil {
		c.sameRole(o.RoleRef, old.RoleRef)
	}
	return c.errs
}

func (c *checker) roleRef(r *rbacv1.RoleRef, kinds ...string) {
	p := field.NewPath("roleRef")
	if r.APIGroup != rbacv1.GroupName {
		c.add(field.NotSupported(p.Child("apiGroup"), r.APIGroup, []string{rbacv1.GroupName}))
	}
	known := false
	for _, k := range kinds {
		known = known || r.Kind == k
	}
	if !known {
		c.add(field.NotSupported(p.Child("kind"), r.Kind, kinds))
	}
	if r.Name == "" {
		c.required(p.Child("name"), "")
		return
	}
	c.messages(p, "name", r.Name, rbacName(r.Name, false))
}

func (c *checker) sameRole(now, was rbacv1.RoleRef) {
	if now != was {
		c.invalid(field.NewPath("roleRef"), now, immutable)
	}
}

func (c *checker) subjects(subjects []rbacv1.Subject, namespaced bool) {
	for i := range subjects {
		s := &subjects[i]
		p := field.NewPath("subjects").Index(i)
		if s.Name == "" {
			c.required(p.Child("name"), "")
		}
		switch s.Kind {
		case rbacv1.ServiceAccountKind:
			if s.Name != "" {
				c.dnsSubdomain(p, "name", s.Name)
			}
			if s.APIGroup != "" {
				c.add(field.NotSupported(p.Child("apiGroup"), s.APIGroup, []string{""}))
			}
			if !namespaced && s.Namespace == "" {
				c.required(p.Child("namespace"), "")
			}
		case rbacv1.UserKind, rbacv1.GroupKind:
			if s.APIGroup != rbacv1.GroupName {
				c.add(field.NotSupported(p.Child("apiGroup"), s.APIGroup, []string{rbacv1.GroupName}))
			}
		default:
			c.add(field.NotSupported(p.Child("kind"), s.Kind, []string{rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind}))
		}
	}
}
