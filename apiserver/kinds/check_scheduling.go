package kinds

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// scheduling checks what of a pod decides where it may run.
func (c *checker) scheduling(p *path, s *corev1.PodSpec) {
	for i := range s.Tolerations {
		c.toleration(p.Child("tolerations").Index(i), &s.Tolerations[i])
	}
	for i := range s.TopologySpreadConstraints {
		c.spread(p.Child("topologySpreadConstraints").Index(i), &s.TopologySpreadConstraints[i], s.TopologySpreadConstraints[i+1:])
	}
	if s.Affinity != nil {
		c.affinity(p.Child("affinity"), s.Affinity)
	}
	var gates nameSet
	for i := range s.SchedulingGates {
		at := p.Child("schedulingGates").Index(i)
		for _, m := range validation.IsQualifiedName(s.SchedulingGates[i].Name) {
			c.invalid(at, s.SchedulingGates[i].Name, m)
		}
		if !gates.add(s.SchedulingGates[i].Name) {
			c.add(field.Duplicate(at, s.SchedulingGates[i].Name))
		}
	}
}

func (c *checker) toleration(p *path, t *corev1.Toleration) {
	if t.Key != "" {
		c.add(metavalidation.ValidateLabelName(t.Key, p.Child("key"))...)
	}
	if t.Key == "" && t.Operator != corev1.TolerationOpExists {
		c.invalid(p.Child("operator"), t.Operator, "operator must be Exists when `key` is empty, which means \"match all values and all keys\"")
	}
	if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
		c.invalid(p.Child("effect"), t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
	}
	switch t.Operator {
	case corev1.TolerationOpEqual, "":
		for _, m := range validation.IsValidLabelValue(t.Value) {
			c.invalid(p.Child("operator"), t.Value, m)
		}
	case corev1.TolerationOpExists:
		if t.Value != "" {
			c.invalid(p.Child("operator"), t.Value, "value must be empty when `operator` is 'Exists'")
		}
	default:
		operators := []corev1.TolerationOperator{corev1.TolerationOpEqual, corev1.TolerationOpExists}
		if t.Operator == corev1.TolerationOpLt || t.Operator == corev1.TolerationOpGt {
			// Known, and off.
			operators = append(operators, corev1.TolerationOpLt, corev1.TolerationOpGt)
		}
		c.add(field.NotSupported(p.Child("operator"), t.Operator, operators))
	}
	if t.Effect != "" {
		c.taintEffect(p.Child("effect"), t.Effect)
	}
}

func (c *checker) taintEffect(p *path, e corev1.TaintEffect) {
	switch e {
	case corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute:
	case "":
		c.required(p, "")
	default:
		c.add(field.NotSupported(p, e, []corev1.TaintEffect{
			corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute,
		}))
	}
}

// spread checks a constraint; none of the ones that follow may be of its kind.
func (c *checker) spread(p *path, t *corev1.TopologySpreadConstraint, others []corev1.TopologySpreadConstraint) {
	if t.MaxSkew <= 0 {
		c.invalid(p.Child("maxSkew"), t.MaxSkew, "must be greater than zero")
	}
	if t.TopologyKey == "" {
		c.required(p.Child("topologyKey"), "can not be empty")
	}
	if t.WhenUnsatisfiable != corev1.DoNotSchedule && t.WhenUnsatisfiable != corev1.ScheduleAnyway {
		c.add(field.NotSupported(p.Child("whenUnsatisfiable"), t.WhenUnsatisfiable,
			[]corev1.UnsatisfiableConstraintAction{corev1.DoNotSchedule, corev1.ScheduleAnyway}))
	}
	if slices.ContainsFunc(others, func(o corev1.TopologySpreadConstraint) bool {
		return o.TopologyKey == t.TopologyKey && o.WhenUnsatisfiable == t.WhenUnsatisfiable
	}) {
		c.add(field.Duplicate(p.Child("{topologyKey, whenUnsatisfiable}"), "{"+t.TopologyKey+", "+string(t.WhenUnsatisfiable)+"}"))
	}
	if d := t.MinDomains; d != nil {
		if *d <= 0 {
			c.invalid(p.Child("minDomains"), *d, "must be greater than zero")
		}
		if t.WhenUnsatisfiable != corev1.DoNotSchedule {
			c.invalid(p.Child("minDomains"), *d, "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not "+string(t.WhenUnsatisfiable))
		}
	}
	oneOfPtr(c, p, "nodeAffinityPolicy", t.NodeAffinityPolicy, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)
	oneOfPtr(c, p, "nodeTaintsPolicy", t.NodeTaintsPolicy, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)
	c.selector(p.Child("labelSelector"), t.LabelSelector)
	c.labelKeys(p.Child("matchLabelKeys"), t.MatchLabelKeys, t.LabelSelector)
	c.keysOnce(p, t.MatchLabelKeys, t.LabelSelector)
}

func (c *checker) affinity(p *path, a *corev1.Affinity) {
	if n := a.NodeAffinity; n != nil {
		at := p.Child("nodeAffinity")
		if n.RequiredDuringSchedulingIgnoredDuringExecution != nil {
			c.nodeSelector(at.Child("requiredDuringSchedulingIgnoredDuringExecution"), n.RequiredDuringSchedulingIgnoredDuringExecution)
		}
		for i := range n.PreferredDuringSchedulingIgnoredDuringExecution {
			t := &n.PreferredDuringSchedulingIgnoredDuringExecution[i]
			here := at.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i)
			c.weight(here, t.Weight)
			c.nodeTerm(here.Child("preference"), &t.Preference, false)
		}
	}
	if a.PodAffinity != nil {
		c.podAffinity(p.Child("podAffinity"), a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution,
			a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if a.PodAntiAffinity != nil {
		c.podAffinity(p.Child("podAntiAffinity"), a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution,
			a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
}

func (c *checker) weight(p *path, w int32) {
	if w < 1 || w > 100 {
		c.invalid(p.Child("weight"), w, "must be in the range 1-100")
	}
}

func (c *checker) podAffinity(p *path, required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
	for i := range required {
		c.podTerm(p.Child("requiredDuringSchedulingIgnoredDuringExecution").Index(i), &required[i])
	}
	for i := range preferred {
		at := p.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i)
		c.weight(at, preferred[i].Weight)
		c.podTerm(at.Child("podAffinityTerm"), &preferred[i].PodAffinityTerm)
	}
}

func (c *checker) podTerm(p *path, t *corev1.PodAffinityTerm) {
	c.selector(p.Child("labelSelector"), t.LabelSelector)
	c.selector(p.Child("namespaceSelector"), t.NamespaceSelector)
	for _, n := range t.Namespaces {
		for _, m := range validation.IsDNS1123Label(n) {
			c.invalid(p.Child("namespace"), n, m)
		}
	}
	if t.TopologyKey == "" {
		c.required(p.Child("topologyKey"), "can not be empty")
	}
	c.add(metavalidation.ValidateLabelName(t.TopologyKey, p.Child("topologyKey"))...)
	c.labelKeys(p.Child("matchLabelKeys"), t.MatchLabelKeys, t.LabelSelector)
	c.labelKeys(p.Child("mismatchLabelKeys"), t.MismatchLabelKeys, t.LabelSelector)
	c.keysOnce(p, t.MatchLabelKeys, t.LabelSelector)
	for i, k := range t.MatchLabelKeys {
		if slices.Contains(t.MismatchLabelKeys, k) {
			c.invalid(p.Child("matchLabelKeys").Index(i), k, "exists in both matchLabelKeys and mismatchLabelKeys")
		}
	}
}

// labelKeys checks keys whose values a pod's own labels give.
func (c *checker) labelKeys(p *path, keys []string, selector *metav1.LabelSelector) {
	if len(keys) > 0 && selector == nil {
		c.forbidden(p, "must not be specified when labelSelector is not set")
		return
	}
	for i, k := range keys {
		c.add(metavalidation.ValidateLabelName(k, p.Index(i))...)
	}
}

// keysOnce refuses keys that the selector asks about already, but for the one
// requirement that is made of each key.
func (c *checker) keysOnce(p *path, keys []string, selector *metav1.LabelSelector) {
	if selector == nil || len(keys) == 0 {
		return
	}
	seen := make(map[string]bool, len(selector.MatchLabels))
	for k := range selector.MatchLabels {
		seen[k] = true
	}
	for _, e := range selector.MatchExpressions {
		if i := slices.Index(keys, e.Key); i >= 0 && seen[e.Key] {
			c.invalid(p.Index(i), e.Key, "exists in both matchLabelKeys and labelSelector")
		}
		seen[e.Key] = true
	}
}

func (c *checker) nodeSelector(p *path, s *corev1.NodeSelector) {
	if len(s.NodeSelectorTerms) == 0 {
		c.required(p.Child("nodeSelectorTerms"), "must have at least one node selector term")
	}
	for i := range s.NodeSelectorTerms {
		c.nodeTerm(p.Child("nodeSelectorTerms").Index(i), &s.NodeSelectorTerms[i], true)
	}
}

// nodeTerm checks a term; only what is required must be what a label can be.
func (c *checker) nodeTerm(p *path, t *corev1.NodeSelectorTerm, required bool) {
	for i := range t.MatchExpressions {
		at := p.Child("matchExpressions").Index(i)
		c.nodeRequirement(at, &t.MatchExpressions[i])
		for j, v := range t.MatchExpressions[i].Values {
			if !required {
				break
			}
			for _, m := range validation.IsValidLabelValue(v) {
				c.invalid(at.Child("values").Index(j), v, m)
			}
		}
	}
	for i := range t.MatchFields {
		r := &t.MatchFields[i]
		at := p.Child("matchFields").Index(i)
		switch {
		case r.Operator != corev1.NodeSelectorOpIn && r.Operator != corev1.NodeSelectorOpNotIn:
			c.invalid(at.Child("operator"), r.Operator, "not a valid selector operator")
		case len(r.Values) != 1:
			c.required(at.Child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector")
		}
		if r.Key != metav1.ObjectNameField {
			c.invalid(at.Child("key"), r.Key, "not a valid field selector key")
			continue
		}
		for j, v := range r.Values {
			for _, m := range validation.IsDNS1123Subdomain(v) {
				c.invalid(at.Child("values").Index(j), v, m)
			}
		}
	}
}

func (c *checker) nodeRequirement(p *path, r *corev1.NodeSelectorRequirement) {
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) == 0 {
			c.required(p.Child("values"), "must be specified when `operator` is 'In' or 'NotIn'")
		}
	case corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			c.forbidden(p.Child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
		}
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		if len(r.Values) != 1 {
			c.required(p.Child("values"), "must be specified single value when `operator` is 'Lt' or 'Gt'")
		}
	default:
		c.invalid(p.Child("operator"), r.Operator, "not a valid selector operator")
	}
	c.add(metavalidation.ValidateLabelName(strings.TrimSpace(r.Key), p.Child("key"))...)
}
