package kinds

import (
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The check functions tell what is wrong with a part of an object; they add to
// a list, so that everything wrong is told at once. Paths of single fields are
// made only when there is something to tell: a valid pod pays for few.

type path = field.Path

// checker collects errors.
type checker struct {
	errs fieldErrors
	// isPod tells a pod's spec from a template's.
	isPod bool
}

func (c *checker) add(errs ...*field.Error) { c.errs = append(c.errs, errs...) }

func (c *checker) required(p *path, why string) { c.add(field.Required(p, why)) }

func (c *checker) invalid(p *path, value any, why string) { c.add(field.Invalid(p, value, why)) }

func (c *checker) forbidden(p *path, why string) { c.add(field.Forbidden(p, why)) }

// messages reports what a predicate of the validation package says.
func (c *checker) messages(p *path, name string, value any, messages []string) {
	for _, m := range messages {
		c.add(field.Invalid(p.Child(name), value, m))
	}
}

func (c *checker) nonNegative(p *path, name string, value int64) {
	if value < 0 {
		c.invalid(p.Child(name), value, isNegative)
	}
}

func (c *checker) nonNegativePtr(p *path, name string, value *int32) {
	if value != nil {
		c.nonNegative(p, name, int64(*value))
	}
}

// same reports a field that must not change.
func same[T comparable](c *checker, p *path, name string, value, old T) {
	if value != old {
		c.invalid(p.Child(name), value, immutable)
	}
}

// oneOf reports a value that is none of the supported ones; empty is required.
func oneOf[T ~string](c *checker, p *path, name string, value T, supported ...T) {
	switch {
	case slices.Contains(supported, value):
	case value == "":
		c.required(p.Child(name), "")
	default:
		c.add(field.NotSupported(p.Child(name), value, supported))
	}
}

func oneOfPtr[T ~string](c *checker, p *path, name string, value *T, supported ...T) {
	if value != nil && !slices.Contains(supported, *value) {
		c.add(field.NotSupported(p.Child(name), *value, supported))
	}
}

// dnsLabel and dnsSubdomain check required names; an ordinary one is
// recognised without a regular expression.
func (c *checker) dnsLabel(p *path, name, value string) {
	if plainLabel(value) {
		return
	}
	if value == "" {
		c.required(p.Child(name), "")
		return
	}
	c.messages(p, name, value, validation.IsDNS1123Label(value))
}

func (c *checker) dnsSubdomain(p *path, name, value string) {
	if plainLabel(value) {
		return
	}
	if value == "" {
		c.required(p.Child(name), "")
		return
	}
	c.messages(p, name, value, validation.IsDNS1123Subdomain(value))
}

// plainLabel tells that s is a DNS label, which is a DNS subdomain too.
func plainLabel(s string) bool {
	if len(s) == 0 || len(s) > validation.DNS1123LabelMaxLength || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if b := s[i]; (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '-' {
			return false
		}
	}
	return true
}

func (c *checker) labels(p *path, m map[string]string) {
	if len(m) > 0 {
		c.add(metavalidation.ValidateLabels(m, p)...)
	}
}

func (c *checker) selector(p *path, s *metav1.LabelSelector) {
	if s != nil {
		c.add(metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, p)...)
	}
}

// templateSelector checks the selector of a workload against its template.
func (c *checker) templateSelector(spec *path, s *metav1.LabelSelector, template map[string]string, kindName string) {
	if s == nil {
		if kindName != "daemonset" {
			c.required(spec.Child("selector"), "")
		}
		// Nothing is selected, the template's pods neither.
		c.invalid(spec.Child("template", "metadata", "labels"), template, "`selector` does not match template `labels`")
		return
	}
	before := len(c.errs)
	c.selector(spec.Child("selector"), s)
	if len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		c.invalid(spec.Child("selector"), s, "empty selector is invalid for "+kindName)
	}
	if _, err := metav1.LabelSelectorAsSelector(s); err != nil {
		switch kindName {
		case "deployment":
			c.invalid(spec.Child("selector"), s, "invalid label selector")
		case "statefulset":
			c.invalid(spec.Child("selector"), s, "")
		}
	}
	if len(c.errs) > before {
		return
	}
	if !selects(s, template) {
		c.invalid(spec.Child("template", "metadata", "labels"), template, "`selector` does not match template `labels`")
	}
}

func selects(s *metav1.LabelSelector, l map[string]string) bool {
	for k, v := range s.MatchLabels {
		if have, ok := l[k]; !ok || have != v {
			return false
		}
	}
	if len(s.MatchExpressions) == 0 {
		return true
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(l))
}

func (c *checker) port(p *path, name string, port int32) {
	if port < 1 || port > 65535 {
		c.messages(p, name, port, validation.IsValidPortNum(int(port)))
	}
}

// portNameOrNumber checks a target port.
func (c *checker) portNameOrNumber(p *path, name string, v intstr.IntOrString) {
	if v.Type == intstr.Int {
		c.port(p, name, v.IntVal)
		return
	}
	c.messages(p, name, v.StrVal, portName(v.StrVal))
}

// portName says what is wrong with a port's name.
func portName(s string) []string {
	if len(s) <= 15 && plainLabel(s) && s[0] >= 'a' && s[0] <= 'z' && !strings.Contains(s, "--") {
		return nil
	}
	return validation.IsValidPortName(s)
}

// amount checks a count or percentage.
func (c *checker) amount(p *path, name string, v intstr.IntOrString) {
	if v.Type == intstr.Int {
		c.nonNegative(p, name, int64(v.IntVal))
		return
	}
	c.messages(p, name, v, validation.IsValidPercent(v.StrVal))
}

// atMostAll refuses percentages over 100.
func (c *checker) atMostAll(p *path, name string, v intstr.IntOrString) {
	if n, ok := percent(v); ok && n > 100 {
		c.invalid(p.Child(name), v, "must not be greater than 100%")
	}
}

func percent(v intstr.IntOrString) (int, bool) {
	if v.Type != intstr.String || !strings.HasSuffix(v.StrVal, "%") {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSuffix(v.StrVal, "%"))
	return n, err == nil
}

// zero tells that a count or percentage is nothing at all.
func zero(v intstr.IntOrString) bool {
	if v.Type == intstr.String {
		n, _ := percent(v) // what is no percentage counts as none
		return n == 0
	}
	return v.IntVal == 0
}

// ip and cidr check addresses, in the one way of writing each that all take for
// the same.
func (c *checker) ip(p *path, value string) {
	c.add(validation.IsValidIPForLegacyField(p, value, true, nil)...)
}

func (c *checker) cidr(p *path, value string) {
	c.add(validation.IsValidCIDRForLegacyField(p, value, true, nil)...)
}
