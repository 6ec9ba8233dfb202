package kinds

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func checkResourceSlice(o, old *resourcev1.ResourceSlice) fieldErrors {
	c, p, s := &checker{}, field.NewPath("spec"), &o.Spec
	c.driverName(p, "driver", s.Driver)
	c.poolName(p.Child("pool", "name"), s.Pool.Name)
	if s.Pool.ResourceSliceCount <= 0 {
		c.invalid(p.Child("pool", "resourceSliceCount"), s.Pool.ResourceSliceCount, "must be greater than zero")
	}
	c.nonNegative(p.Child("pool"), "generation", s.Pool.Generation)
	var before []resourcev1.Device
	if old != nil {
		before = old.Spec.Devices
		same(c, p.Child("pool"), "name", s.Pool.Name, old.Spec.Pool.Name)
		same(c, p, "driver", s.Driver, old.Spec.Driver)
		same(c, p, "nodeName", deref(s.NodeName, ""), deref(old.Spec.NodeName, ""))
	}
	c.onePlace(p, "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required", s.NodeName, s.NodeSelector, s.AllNodes, s.PerDeviceNodeSelection)
	if s.NodeSelector != nil && len(s.NodeSelector.NodeSelectorTerms) != 1 {
		c.invalid(p.Child("nodeSelector", "nodeSelectorTerms"), s.NodeSelector.NodeSelectorTerms, "must have exactly one node selector term")
	}
	if s.SharedCounters != nil && s.Devices != nil {
		c.invalid(p, "", "only one of `sharedCounters` or `devices` is allowed")
	}
	c.devices(p.Child("devices"), s, before)
	if at := p.Child("sharedCounters"); c.fewer(at, len(s.SharedCounters), resourcev1.ResourceSliceMaxCounterSets) {
		var seen nameSet
		for i, set := range s.SharedCounters {
			c.uniqueLabel(at.Index(i), "name", set.Name, &seen)
			c.counters(at.Index(i).Child("counters"), set.Counters, resourcev1.ResourceSliceMaxCountersPerCounterSet)
		}
	}
	return c.errs
}

// onePlace checks that a slice or device says in one way, and in one only,
// which nodes have it.
func (c *checker) onePlace(p *path, rule string, node *string, selector *corev1.NodeSelector, all, each *bool) {
	var set []string
	if node != nil {
		set = append(set, "`nodeName`")
		if *node == "" {
			c.invalid(p.Child("nodeName"), *node, "must be either unset or set to a non-empty string")
		} else {
			c.messages(p, "nodeName", *node, validation.IsDNS1123Subdomain(*node))
		}
	}
	if selector != nil {
		set = append(set, "`nodeSelector`")
		c.nodeSelector(p.Child("nodeSelector"), selector)
	}
	for _, flag := range []struct {
		name  string
		value *bool
	}{{"allNodes", all}, {"perDeviceNodeSelection", each}} {
		if flag.value != nil {
			set = append(set, "`"+flag.name+"`")
			if !*flag.value {
				c.invalid(p.Child(flag.name), false, "must be either unset or set to true")
			}
		}
	}
	switch len(set) {
	case 0:
		c.required(p, rule)
	case 1:
	default:
		c.invalid(p, "{"+strings.Join(set, ", ")+"}", rule+", but multiple fields are set")
	}
}

func (c *checker) devices(p *path, s *resourcev1.ResourceSliceSpec, before []resourcev1.Device) {
	most := resourcev1.ResourceSliceMaxDevices
	if slices.ContainsFunc(s.Devices, costly) {
		most = resourcev1.ResourceSliceMaxDevicesWithAdvancedFeatures
	}
	if !c.fewer(p, len(s.Devices), most) {
		return
	}
	names := map[string]bool{}
	for i := range s.Devices {
		d, at := &s.Devices[i], p.Index(i)
		c.dnsLabel(at, "name", d.Name)
		if names[d.Name] {
			c.add(field.Duplicate(at, d.Name))
		}
		names[d.Name] = true
		was := slices.IndexFunc(before, func(b resourcev1.Device) bool { return b.Name == d.Name })
		c.device(at, d, was >= 0 && alike(before[was].Taints, d.Taints))
		switch placed := d.NodeName != nil || d.NodeSelector != nil || d.AllNodes != nil; {
		case deref(s.PerDeviceNodeSelection, false):
			c.onePlace(at, "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec", d.NodeName, d.NodeSelector, d.AllNodes, nil)
		case placed:
			c.invalid(at, nil, "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec")
		}
	}
}

// costly tells whether a device makes its slice large.
func costly(d resourcev1.Device) bool { return len(d.Taints) > 0 || len(d.ConsumesCounters) > 0 }

func (c *checker) device(p *path, d *resourcev1.Device, taintsKnown bool) {
	if n := len(d.Attributes) + len(d.Capacity); n > resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice {
		c.invalid(p, n, fmt.Sprintf("the total number of attributes and capacities must not exceed %d", resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice))
	}
	for _, name := range slices.Sorted(maps.Keys(d.Attributes)) {
		c.attributeName(p.Child("attributes"), string(name))
		c.attribute(p.Child("attributes").Key(string(name)), d.Attributes[name])
	}
	for _, name := range slices.Sorted(maps.Keys(d.Capacity)) {
		c.attributeName(p.Child("capacity"), string(name))
		c.capacity(p.Child("capacity").Key(string(name)).Child("requestPolicy"), d.Capacity[name], deref(d.AllowMultipleAllocations, false))
	}
	if at := p.Child("taints"); !taintsKnown && c.fewer(at, len(d.Taints), resourcev1.DeviceTaintsMaxLength) {
		for i, t := range d.Taints {
			if t.Key == "" {
				c.required(at.Index(i).Child("key"), "")
			} else {
				c.messages(at.Index(i), "key", t.Key, validation.IsQualifiedName(t.Key))
			}
			c.messages(at.Index(i), "value", t.Value, validation.IsValidLabelValue(t.Value))
			oneOf(c, at.Index(i), "effect", t.Effect, resourcev1.DeviceTaintEffectNoExecute, resourcev1.DeviceTaintEffectNone, resourcev1.DeviceTaintEffectNoSchedule)
		}
	}
	if at := p.Child("consumesCounters"); c.fewer(at, len(d.ConsumesCounters), resourcev1.ResourceSliceMaxDeviceCounterConsumptionsPerDevice) {
		var seen nameSet
		for i, use := range d.ConsumesCounters {
			c.uniqueLabel(at.Index(i), "counterSet", use.CounterSet, &seen)
			c.counters(at.Index(i).Child("counters"), use.Counters, resourcev1.ResourceSliceMaxCountersPerDeviceCounterConsumption)
		}
	}
	c.bindingConditions(p, d.BindingConditions, d.BindingFailureConditions)
}

func (c *checker) bindingConditions(p *path, needed, failing []string) {
	check := func(at *path, list []string) {
		if c.fewer(at, len(list), resourcev1.BindingConditionsMaxSize) {
			for i, condition := range list {
				for _, m := range validation.IsQualifiedName(condition) {
					c.invalid(at.Index(i), condition, m)
				}
			}
		}
	}
	check(p.Child("bindingConditions"), needed)
	check(p.Child("bindingFailureConditions"), failing)
	if (len(needed) == 0) != (len(failing) == 0) {
		c.invalid(p, needed, "bindingConditions and bindingFailureConditions must be set together")
	}
}

func (c *checker) counters(p *path, counters map[string]resourcev1.Counter, most int) {
	if len(counters) == 0 {
		c.required(p, "")
		return
	}
	if c.fewer(p, len(counters), most) {
		for _, name := range slices.Sorted(maps.Keys(counters)) {
			for _, m := range validation.IsDNS1123Label(name) {
				c.invalid(p, name, m)
			}
		}
	}
}

// semver is https://semver.org's version 2.0.0.
var semver = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)` +
	`(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?` +
	`(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$`)

func (c *checker) attribute(p *path, a resourcev1.DeviceAttribute) {
	set := 0
	for _, has := range []bool{a.BoolValue != nil, a.IntValue != nil, a.StringValue != nil, a.VersionValue != nil} {
		if has {
			set++
		}
	}
	switch {
	case set == 0:
		c.invalid(p, "", "exactly one value must be specified")
	case set > 1:
		c.invalid(p, a, "exactly one value must be specified")
	}
	if v := deref(a.StringValue, ""); len(v) > resourcev1.DeviceAttributeMaxValueLength {
		c.add(field.TooLong(p.Child("string"), "", resourcev1.DeviceAttributeMaxValueLength))
	}
	if v := deref(a.VersionValue, ""); len(v) > resourcev1.DeviceAttributeMaxValueLength {
		c.add(field.TooLong(p.Child("version"), "", resourcev1.DeviceAttributeMaxValueLength))
	}
	if v := a.VersionValue; v != nil && !semver.MatchString(*v) {
		c.invalid(p.Child("version"), *v, "must be a string compatible with semver.org spec 2.0.0")
	}
}

// capacity checks how a capacity is handed out in parts.
func (c *checker) capacity(p *path, capacity resourcev1.DeviceCapacity, shared bool) {
	policy := capacity.RequestPolicy
	switch {
	case policy == nil:
	case !shared:
		c.forbidden(p, "allowMultipleAllocations must be true")
	case len(policy.ValidValues) > 0 && policy.ValidRange != nil:
		c.forbidden(p, `exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time`)
	case len(policy.ValidValues) > 0:
		c.validValues(p, policy, capacity)
	case policy.ValidRange != nil:
		c.validRange(p, policy, capacity)
	}
}

func (c *checker) validValues(p *path, policy *resourcev1.CapacityRequestPolicy, capacity resourcev1.DeviceCapacity) {
	at := p.Child("validValues")
	if policy.Default == nil {
		c.required(p.Child("default"), "required when validValues is defined")
		return
	}
	found := false
	for i, v := range policy.ValidValues {
		if i > 0 && policy.ValidValues[i-1].Cmp(v) > 0 {
			c.invalid(at.Index(i), v.String(), "values must be sorted in ascending order")
		}
		if v.Cmp(capacity.Value) > 0 {
			c.invalid(at.Index(i), v.String(), "option is larger than capacity value: "+capacity.Value.String())
		}
		found = found || v.Cmp(*policy.Default) == 0
	}
	if !found {
		c.invalid(at, policy.Default.String(), "default value is not valid according to the requestPolicy")
	}
}

func (c *checker) validRange(p *path, policy *resourcev1.CapacityRequestPolicy, capacity resourcev1.DeviceCapacity) {
	r, at := policy.ValidRange, p.Child("validRange")
	switch {
	case policy.Default == nil:
		c.required(p.Child("default"), "required when validRange is defined")
		return
	case r.Min == nil:
		c.required(at.Child("min"), "required when validRange is defined")
		return
	}
	limit := cmp.Or(r.Max, &capacity.Value)
	for _, rule := range []struct {
		broken     bool
		name, what string
	}{
		{r.Min.Cmp(capacity.Value) > 0, "min", "min is larger than capacity value: " + capacity.Value.String()},
		{policy.Default.Cmp(*r.Min) < 0, "min", "default is less than min: " + r.Min.String()},
		{r.Min.Cmp(*limit) > 0 && r.Max != nil, "max", "min is larger than max: " + limit.String()},
		{limit.Cmp(capacity.Value) > 0, "max", "max is larger than capacity value: " + capacity.Value.String()},
		{policy.Default.Cmp(*limit) > 0, "max", "default is more than max: " + limit.String()},
	} {
		if rule.broken {
			c.invalid(at.Child(rule.name), policy.Default.String(), rule.what)
		}
	}
	if r.Step == nil {
		return
	}
	if r.Step.Value() <= 0 {
		c.invalid(at.Child("step"), r.Step.String(), "must be greater than zero")
	} else if (policy.Default.Value()-r.Min.Value())%r.Step.Value() != 0 {
		c.invalid(at.Child("step"), policy.Default.String(), fmt.Sprintf("value is not a multiple of a given step (%s) from (%s)", r.Step.String(), r.Min.String()))
	}
}
