package kinds

import (
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/cel/environment"
	devicecel "k8s.io/dynamic-resource-allocation/cel"
)

// alike tells whether two values mean the same.
func alike(a, b any) bool { return equality.Semantic.DeepEqual(a, b) }

// fewer refuses lists that are too long, and tells whether to look into one.
func (c *checker) fewer(p *path, n, most int) bool {
	if n > most {
		c.add(field.TooMany(p, n, most))
	}
	return n <= most
}

// isExtendedResource tells whether a name is one that nodes may offer beside
// what every node has.
func isExtendedResource(name string) bool {
	domain, _, qualified := strings.Cut(name, "/")
	return qualified && domain != "kubernetes.io" && !strings.HasSuffix(domain, ".kubernetes.io") && !strings.HasPrefix(name, corev1.DefaultResourceRequestsPrefix) &&
		len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+name)) == 0
}

// requestNames are the names that parts of a claim can refer to: "gpu", and
// "gpu/large" for one of several alternatives.
type requestNames map[string]bool

func (c *checker) deviceClaim(p *path, d *resourcev1.DeviceClaim) {
	names := namesOf(d)
	if at := p.Child("requests"); c.fewer(at, len(d.Requests), resourcev1.DeviceRequestsMaxSize) {
		var seen nameSet
		for i := range d.Requests {
			r := &d.Requests[i]
			c.uniqueLabel(at.Index(i), "name", r.Name, &seen)
			c.deviceRequest(at.Index(i), r)
		}
	}
	if at := p.Child("constraints"); c.fewer(at, len(d.Constraints), resourcev1.DeviceConstraintsMaxSize) {
		for i := range d.Constraints {
			c.deviceConstraint(at.Index(i), &d.Constraints[i], names)
		}
	}
	if at := p.Child("config"); c.fewer(at, len(d.Config), resourcev1.DeviceConfigMaxSize) {
		for i := range d.Config {
			c.requestRefs(at.Index(i).Child("requests"), d.Config[i].Requests, names)
			c.deviceConfiguration(at.Index(i), &d.Config[i].DeviceConfiguration, false)
		}
	}
}

func namesOf(d *resourcev1.DeviceClaim) requestNames {
	names := requestNames{}
	for _, r := range d.Requests {
		names[r.Name] = true
		for _, s := range r.FirstAvailable {
			names[r.Name+"/"+s.Name] = true
		}
	}
	return names
}

// uniqueLabel checks the name of a list's entry.
func (c *checker) uniqueLabel(p *path, name, value string, seen *nameSet) {
	c.dnsLabel(p, name, value)
	if value != "" && !seen.add(value) {
		c.add(field.Duplicate(p, value))
	}
}

func (c *checker) deviceRequest(p *path, r *resourcev1.DeviceRequest) {
	switch {
	case r.Exactly == nil && len(r.FirstAvailable) == 0:
		c.required(p, "exactly one of `exactly` or `firstAvailable` is required")
	case r.Exactly != nil && len(r.FirstAvailable) > 0:
		c.invalid(p, nil, "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set")
	case r.Exactly != nil:
		e := r.Exactly
		c.oneRequest(p.Child("exactly"), e.DeviceClassName, e.Selectors, e.AllocationMode, e.Count, e.Tolerations)
	case c.fewer(p.Child("firstAvailable"), len(r.FirstAvailable), resourcev1.FirstAvailableDeviceRequestMaxSize):
		var seen nameSet
		for i := range r.FirstAvailable {
			s, at := &r.FirstAvailable[i], p.Child("firstAvailable").Index(i)
			c.uniqueLabel(at, "name", s.Name, &seen)
			c.oneRequest(at, s.DeviceClassName, s.Selectors, s.AllocationMode, s.Count, s.Tolerations)
		}
	}
}

func (c *checker) oneRequest(p *path, class string, selectors []resourcev1.DeviceSelector, mode resourcev1.DeviceAllocationMode, count int64, tolerations []resourcev1.DeviceToleration) {
	c.dnsSubdomain(p, "deviceClassName", class)
	c.deviceSelectors(p.Child("selectors"), selectors, false)
	switch mode {
	case resourcev1.DeviceAllocationModeAll:
		if count != 0 {
			c.invalid(p.Child("count"), count, fmt.Sprintf("must not be specified when allocationMode is '%s'", mode))
		}
	case resourcev1.DeviceAllocationModeExactCount:
		if count <= 0 {
			c.invalid(p.Child("count"), count, "must be greater than zero")
		}
	default:
		c.add(field.NotSupported(p.Child("allocationMode"), mode, []resourcev1.DeviceAllocationMode{resourcev1.DeviceAllocationModeAll, resourcev1.DeviceAllocationModeExactCount}))
	}
	for i := range tolerations {
		c.deviceToleration(p.Child("tolerations").Index(i), &tolerations[i])
	}
}

func (c *checker) deviceToleration(p *path, t *resourcev1.DeviceToleration) {
	if t.Key != "" {
		c.messages(p, "key", t.Key, validation.IsQualifiedName(t.Key))
	}
	switch t.Operator {
	case resourcev1.DeviceTolerationOpExists:
		if t.Value != "" {
			c.invalid(p.Child("value"), t.Value, "must be empty for operator `Exists`")
		}
	case resourcev1.DeviceTolerationOpEqual:
		c.messages(p, "value", t.Value, validation.IsValidLabelValue(t.Value))
		if t.Key == "" {
			c.required(p.Child("key"), "a key is needed unless the operator is `Exists`")
		}
	case "":
		c.required(p.Child("operator"), "")
	default:
		c.add(field.NotSupported(p.Child("operator"), t.Operator, []resourcev1.DeviceTolerationOperator{resourcev1.DeviceTolerationOpEqual, resourcev1.DeviceTolerationOpExists}))
	}
	if t.Effect != "" {
		oneOf(c, p, "effect", t.Effect, resourcev1.DeviceTaintEffectNoExecute, resourcev1.DeviceTaintEffectNoSchedule)
	}
}

// deviceSelectors compiles CEL expressions; those that are stored already may
// use what newer versions of the language dropped.
func (c *checker) deviceSelectors(p *path, selectors []resourcev1.DeviceSelector, stored bool) {
	if !c.fewer(p, len(selectors), resourcev1.DeviceSelectorsMaxSize) {
		return
	}
	for i, s := range selectors {
		at := p.Index(i).Child("cel")
		switch {
		case s.CEL == nil:
			c.required(at, "")
		case len(s.CEL.Expression) > resourcev1.CELSelectorExpressionMaxLength:
			c.add(field.TooLong(at.Child("expression"), "", resourcev1.CELSelectorExpressionMaxLength))
		default:
			c.deviceExpression(at.Child("expression"), s.CEL.Expression, stored)
		}
	}
}

func (c *checker) deviceExpression(p *path, expression string, stored bool) {
	kind := environment.NewExpressions
	if stored {
		kind = environment.StoredExpressions
	}
	result := devicecel.GetCompiler(devicecel.Features{EnableConsumableCapacity: true}).CompileCELExpression(expression, devicecel.Options{EnvType: &kind})
	switch {
	case result.Error != nil:
		c.invalid(p, expression, result.Error.Detail)
	case result.MaxCost > resourcev1.CELSelectorExpressionMaxCost:
		c.forbidden(p, "too complex, exceeds cost limit")
	}
}

func (c *checker) requestRefs(p *path, refs []string, names requestNames) {
	if !c.fewer(p, len(refs), resourcev1.DeviceRequestsMaxSize) {
		return
	}
	var seen nameSet
	for i, ref := range refs {
		c.requestRef(p.Index(i), ref, names)
		if !seen.add(ref) {
			c.add(field.Duplicate(p.Index(i), ref))
		}
	}
}

func (c *checker) requestRef(p *path, ref string, names requestNames) {
	if !names[ref] {
		c.invalid(p, ref, "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'")
	}
}

func (c *checker) deviceConstraint(p *path, d *resourcev1.DeviceConstraint, names requestNames) {
	c.requestRefs(p.Child("requests"), d.Requests, names)
	switch {
	case d.MatchAttribute != nil:
		c.fullyQualified(p.Child("matchAttribute"), string(*d.MatchAttribute))
	case d.DistinctAttribute != nil:
		c.fullyQualified(p.Child("distinctAttribute"), string(*d.DistinctAttribute))
	default:
		c.required(p, `exactly one of "matchAttribute" or "distinctAttribute" is required`)
	}
}

// fullyQualified checks "domain/attribute".
func (c *checker) fullyQualified(p *path, name string) {
	c.attributeName(p, name)
	if !strings.Contains(name, "/") {
		c.invalid(p, name, "a fully qualified name must be a domain and a name separated by a slash")
	}
}

// attributeName checks the name of an attribute or capacity, with a domain or
// without one.
func (c *checker) attributeName(p *path, name string) {
	domain, id, qualified := strings.Cut(name, "/")
	if !qualified {
		domain, id = "", name
	}
	if qualified && domain == "" {
		c.invalid(p, "", "the domain must not be empty")
	} else if qualified {
		for _, m := range driverNameMessages(domain) {
			c.invalid(p, domain, m)
		}
	}
	switch {
	case qualified && id == "":
		c.invalid(p, "", "the name must not be empty")
	case len(id) > resourcev1.DeviceMaxIDLength:
		c.add(field.TooLong(p, "", resourcev1.DeviceMaxIDLength))
	default:
		for _, m := range validation.IsCIdentifier(id) {
			c.invalid(p, id, m)
		}
	}
}

func (c *checker) deviceConfiguration(p *path, d *resourcev1.DeviceConfiguration, stored bool) {
	if d.Opaque == nil {
		c.required(p.Child("opaque"), "")
		return
	}
	c.driverName(p.Child("opaque"), "driver", d.Opaque.Driver)
	c.object(p.Child("opaque", "parameters"), d.Opaque.Parameters.Raw, resourcev1.OpaqueParametersMaxLength, stored)
}

// object checks that raw bytes are a JSON object of a bounded size.
func (c *checker) object(p *path, raw []byte, most int, stored bool) {
	switch v := any(nil); {
	case len(raw) == 0:
		c.required(p, "")
	case !stored && len(raw) > most:
		c.add(field.TooLong(p, "", most))
	case json.Unmarshal(raw, &v) != nil:
		c.invalid(p, "<value omitted>", "error parsing data as JSON")
	default:
		if _, ok := v.(map[string]any); !ok {
			c.invalid(p, "<value omitted>", "must be a valid JSON object")
		}
	}
}

func driverNameMessages(name string) []string {
	if len(name) > maxDriverName {
		return []string{validation.MaxLenError(maxDriverName)}
	}
	return validation.IsDNS1123Subdomain(strings.ToLower(name))
}
