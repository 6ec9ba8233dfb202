package kinds

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podScopes are the scopes of quotas about pods; the one about claims follows.
var podScopes = sets.New(corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeBestEffort,
	corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity)

// Quantities of quotas without a domain, by what they are about.
var (
	podQuantities = sets.New[corev1.ResourceName]("cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.ephemeral-storage",
		"limits.cpu", "limits.memory", "limits.ephemeral-storage", "pods")
	claimQuantities = sets.New(corev1.ResourcePersistentVolumeClaims, corev1.ResourceRequestsStorage)
	otherQuantities = sets.New(corev1.ResourceServices, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers,
		corev1.ResourceReplicationControllers, corev1.ResourceQuotas, corev1.ResourceSecrets, corev1.ResourceConfigMaps)
)

func checkResourceQuota(o, old *corev1.ResourceQuota) fieldErrors {
	c, p := &checker{}, field.NewPath("spec")
	c.quotaAmounts(p.Child("hard"), o.Spec.Hard)
	c.quotaScopes(p, &o.Spec)
	if s := o.Spec.ScopeSelector; s != nil {
		c.scopeSelector(p.Child("scopeSelector", "matchExpressions"), &o.Spec)
	}
	if old != nil && !sets.New(o.Spec.Scopes...).Equal(sets.New(old.Spec.Scopes...)) {
		c.invalid(p.Child("scopes"), o.Spec.Scopes, immutable)
	}
	return c.errs
}

func checkResourceQuotaStatus(o, _ *corev1.ResourceQuota) fieldErrors {
	c, p := &checker{}, field.NewPath("status")
	c.quotaAmounts(p.Child("hard"), o.Status.Hard)
	c.quotaAmounts(p.Child("used"), o.Status.Used)
	return c.errs
}

func (c *checker) quotaAmounts(p *path, list corev1.ResourceList) {
	for _, name := range slices.Sorted(maps.Keys(list)) {
		at, q := p.Key(string(name)), list[name]
		c.add(plainResource(at, name)...)
		bare, _ := strings.CutPrefix(string(name), corev1.DefaultResourceRequestsPrefix)
		known := podQuantities.Has(name) || claimQuantities.Has(name) || otherQuantities.Has(name) || strings.HasPrefix(bare, corev1.ResourceHugePagesPrefix)
		if !known && !strings.Contains(string(name), "/") {
			c.invalid(at, name, "must be a standard resource for quota")
		}
		if q.Sign() < 0 {
			c.invalid(at, q.String(), isNegative)
		}
		if counts(name) && q.MilliValue()%1000 != 0 {
			c.invalid(at, q.String(), "must be an integer")
		}
	}
}

// counts tells whether a quantity is a number of things.
func counts(name corev1.ResourceName) bool {
	return name == corev1.ResourcePods || name == corev1.ResourcePersistentVolumeClaims || otherQuantities.Has(name) || strings.Contains(string(name), "/") &&
		!strings.HasSuffix(string(name), "/"+string(corev1.ResourceRequestsStorage))
}

func (c *checker) quotaScopes(p *path, s *corev1.ResourceQuotaSpec) {
	at := p.Child("scopes")
	for _, scope := range s.Scopes {
		if !podScopes.Has(scope) && scope != corev1.ResourceQuotaScopeVolumeAttributesClass {
			c.invalid(at, s.Scopes, "unsupported scope")
		}
		if !scopeFits(scope, s.Hard) {
			c.invalid(at, s.Scopes, "unsupported scope applied to resource")
		}
	}
	if conflicting(sets.New(s.Scopes...)) {
		c.invalid(at, s.Scopes, "conflicting scopes")
	}
}

func conflicting(scopes sets.Set[corev1.ResourceQuotaScope]) bool {
	return scopes.HasAll(corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort) ||
		scopes.HasAll(corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating)
}

// scopeFits tells whether everything that is limited can be in a scope. Pods of
// the best effort have no amounts to limit but their number.
func scopeFits(scope corev1.ResourceQuotaScope, hard corev1.ResourceList) bool {
	for name := range hard {
		pods, claims := podQuantities.Has(name), claimQuantities.Has(name)
		switch {
		case !pods && !claims && !otherQuantities.Has(name): // not a standard one
		case scope == corev1.ResourceQuotaScopeBestEffort && name != corev1.ResourcePods:
			return false
		case scope == corev1.ResourceQuotaScopeVolumeAttributesClass && !claims:
			return false
		case podScopes.Has(scope) && !pods:
			return false
		}
	}
	return true
}

func (c *checker) scopeSelector(p *path, s *corev1.ResourceQuotaSpec) {
	seen := sets.New[corev1.ResourceQuotaScope]()
	for i := range s.ScopeSelector.MatchExpressions {
		e := &s.ScopeSelector.MatchExpressions[i]
		seen.Insert(e.ScopeName)
		if !podScopes.Has(e.ScopeName) && e.ScopeName != corev1.ResourceQuotaScopeVolumeAttributesClass {
			c.invalid(p.Child("scopeName"), e.ScopeName, "unsupported scope")
		}
		if !scopeFits(e.ScopeName, s.Hard) {
			c.invalid(p, s.ScopeSelector, "unsupported scope applied to resource")
		}
		if podScopes.Has(e.ScopeName) && e.ScopeName != corev1.ResourceQuotaScopePriorityClass && e.Operator != corev1.ScopeSelectorOpExists {
			c.invalid(p.Child("operator"), e.Operator, "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity")
		}
		switch e.Operator {
		case corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn:
			if len(e.Values) == 0 {
				c.required(p.Child("values"), "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector")
			}
		case corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist:
			if len(e.Values) > 0 {
				c.invalid(p.Child("values"), e.Values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector")
			}
		default:
			c.invalid(p.Child("operator"), e.Operator, "not a valid selector operator")
		}
	}
	if conflicting(seen) {
		c.invalid(p, s.Scopes, "conflicting scopes")
	}
}

func checkLimitRange(o, _ *corev1.LimitRange) fieldErrors {
	c := &checker{}
	var types nameSet
	for i := range o.Spec.Limits {
		l := &o.Spec.Limits[i]
		p := field.NewPath("spec", "limits").Index(i)
		c.limitType(p, l.Type)
		if !types.add(string(l.Type)) {
			c.add(field.Duplicate(p.Child("type"), l.Type))
		}
		if l.Type == corev1.LimitTypePod {
			if len(l.Default) > 0 {
				c.forbidden(p.Child("default"), "may not be specified when `type` is 'Pod'")
			}
			if len(l.DefaultRequest) > 0 {
				c.forbidden(p.Child("defaultRequest"), "may not be specified when `type` is 'Pod'")
			}
		}
		_, least := l.Min[corev1.ResourceStorage]
		_, most := l.Max[corev1.ResourceStorage]
		if l.Type == corev1.LimitTypePersistentVolumeClaim && !least && !most {
			c.required(p.Child("limits"), "either minimum or maximum storage value is required, but neither was provided")
		}
		c.limits(p, l)
	}
	return c.errs
}

// bounds are the lists of an item: the first name is the field's, the second
// one what messages call it.
func (c *checker) limits(p *path, l *corev1.LimitRangeItem) {
	named := plainResource
	if l.Type == corev1.LimitTypePod || l.Type == corev1.LimitTypeContainer {
		named = containerResource
	}
	for _, list := range []struct {
		name string
		list corev1.ResourceList
	}{{"max", l.Max}, {"min", l.Min}, {"default", l.Default}, {"defaultRequest", l.DefaultRequest}, {"maxLimitRequestRatio", l.MaxLimitRequestRatio}} {
		for _, name := range slices.Sorted(maps.Keys(list.list)) {
			c.add(named(p.Child(list.name).Key(string(name)), name)...)
		}
	}
	for _, rule := range []struct {
		at, low, high    string
		lows, highs, bad corev1.ResourceList
	}{
		{"min", "min", "max", l.Min, l.Max, l.Min},
		{"defaultRequest", "min", "default request", l.Min, l.DefaultRequest, l.DefaultRequest},
		{"defaultRequest", "default request", "max", l.DefaultRequest, l.Max, l.DefaultRequest},
		{"defaultRequest", "default request", "default limit", l.DefaultRequest, l.Default, l.DefaultRequest},
		{"default", "min", "default", l.Min, l.Default, l.Min},
		{"default", "default", "max", l.Default, l.Max, l.Max},
	} {
		for _, name := range slices.Sorted(maps.Keys(rule.lows)) {
			low, bad := rule.lows[name], rule.bad[name]
			if high, ok := rule.highs[name]; ok && low.Cmp(high) > 0 {
				c.invalid(p.Child(rule.at).Key(string(name)), bad.String(), fmt.Sprintf("%s value %s is greater than %s value %s", rule.low, low.String(), rule.high, high.String()))
			}
		}
	}
	c.ratios(p.Child("maxLimitRequestRatio"), l)
}

// limitType allows what Kubernetes limits, and kinds of somebody else's domain.
func (c *checker) limitType(p *path, t corev1.LimitType) {
	wrong := validation.IsQualifiedName(string(t))
	c.messages(p, "type", t, wrong)
	switch t {
	case corev1.LimitTypePod, corev1.LimitTypeContainer, corev1.LimitTypePersistentVolumeClaim:
	default:
		if len(wrong) == 0 && !strings.Contains(string(t), "/") {
			c.invalid(p.Child("type"), t, "must be a standard limit type or fully qualified")
		}
	}
}

func (c *checker) ratios(p *path, l *corev1.LimitRangeItem) {
	for _, name := range slices.Sorted(maps.Keys(l.MaxLimitRequestRatio)) {
		ratio := l.MaxLimitRequestRatio[name]
		if ratio.MilliValue() < 1000 {
			c.invalid(p.Key(string(name)), ratio.String(), "ratio "+ratio.String()+" is less than 1")
		}
		least, most := l.Min[name], l.Max[name]
		if least.IsZero() || most.IsZero() {
			continue
		}
		if widest := most.AsApproximateFloat64() / least.AsApproximateFloat64(); ratio.AsApproximateFloat64() > widest {
			c.invalid(p.Key(string(name)), ratio.String(), fmt.Sprintf("ratio %s is greater than max/min = %f", ratio.String(), widest))
		}
	}
}
