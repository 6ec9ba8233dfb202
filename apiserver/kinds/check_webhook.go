package kinds

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/apiserver/expression"
)

// Versions of AdmissionReview in which webhooks are asked, and of which one has
// to be among those that a webhook takes.
var reviewVersions = []string{"v1"}

const desiredURL = "; desired format: https://host[/path]"

// checkHooks checks the webhooks of a configuration. What the old ones were
// allowed to be wrong in, the new ones may be too.
func checkHooks(hooks, old []hook) fieldErrors {
	c, p := &checker{}, field.NewPath("webhooks")
	lenient := lenience(old)
	var names []string
	for i, h := range hooks {
		at := p.Index(i)
		c.hook(at, h, lenient, i < len(old) && len(hooks) == len(old) && equality.Semantic.DeepEqual(h.conditions, old[i].conditions))
		if h.name == "" {
			continue
		}
		if slices.Contains(names, h.name) && !lenient.names {
			c.add(field.Duplicate(at.Child("name"), h.name))
		}
		names = append(names, h.name)
	}
	return c.errs
}

// leniences are the rules that the stored webhooks break already.
type leniences struct {
	names, selectors, sideEffects, versions bool
	conditions                              map[string]bool // expressions that were accepted before
}

func lenience(old []hook) leniences {
	l := leniences{conditions: map[string]bool{}}
	var names []string
	for _, h := range old {
		l.names = l.names || slices.Contains(names, h.name)
		names = append(names, h.name)
		c := &checker{}
		c.selector(nil, *h.namespaceSelector)
		c.selector(nil, *h.objectSelector)
		l.selectors = l.selectors || len(c.errs) > 0
		l.sideEffects = l.sideEffects || h.sideEffects == nil || !slices.Contains(harmless, *h.sideEffects)
		l.versions = l.versions || !slices.ContainsFunc(h.reviewVersions, recognised)
		for _, m := range h.conditions {
			l.conditions[m.Expression] = true
		}
	}
	return l
}

// harmless are the side effects that a webhook may have.
var harmless = []admissionv1.SideEffectClass{admissionv1.SideEffectClassNone, admissionv1.SideEffectClassNoneOnDryRun}

func recognised(version string) bool { return slices.Contains(reviewVersions, version) }

func (c *checker) hook(p *path, h hook, l leniences, sameConditions bool) {
	c.add(validation.IsFullyQualifiedName(p.Child("name"), h.name)...)
	for i := range h.rules {
		c.admissionRule(p.Child("rules").Index(i), &h.rules[i])
	}
	oneOfPtr(c, p, "failurePolicy", *h.failurePolicy, admissionv1.Fail, admissionv1.Ignore)
	oneOfPtr(c, p, "matchPolicy", *h.matchPolicy, admissionv1.Equivalent, admissionv1.Exact)
	allowed := harmless
	if l.sideEffects {
		allowed = append(allowed[:2:2], admissionv1.SideEffectClassSome, admissionv1.SideEffectClassUnknown)
	}
	if h.sideEffects == nil {
		c.required(p.Child("sideEffects"), "must specify one of "+joined(allowed))
	}
	oneOfPtr(c, p, "sideEffects", h.sideEffects, allowed...)
	if t := *h.timeout; t != nil && (*t < 1 || *t > 30) {
		c.invalid(p.Child("timeoutSeconds"), *t, "the timeout value must be between 1 and 30 seconds")
	}
	options := metavalidation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: l.selectors}
	c.add(metavalidation.ValidateLabelSelector(*h.namespaceSelector, options, p.Child("namespaceSelector"))...)
	c.add(metavalidation.ValidateLabelSelector(*h.objectSelector, options, p.Child("objectSelector"))...)
	if h.reinvocation != nil {
		oneOfPtr(c, p, "reinvocationPolicy", *h.reinvocation, admissionv1.IfNeededReinvocationPolicy, admissionv1.NeverReinvocationPolicy)
	}
	c.hookClient(p.Child("clientConfig"), h.client)
	if !sameConditions {
		c.matchConditions(p.Child("matchConditions"), h.conditions, expression.NewChecker(false, false), l.conditions)
	}
	c.reviewVersions(p.Child("admissionReviewVersions"), h.reviewVersions, !l.versions)
}

func joined[T ~string](list []T) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = string(v)
	}
	return strings.Join(texts, ", ")
}

func (c *checker) hookClient(p *path, w *admissionv1.WebhookClientConfig) {
	switch {
	case (w.URL == nil) == (w.Service == nil):
		c.required(p, "exactly one of url or service is required")
	case w.URL != nil:
		c.hookURL(p.Child("url"), *w.URL)
	default:
		c.hookService(p.Child("service"), w.Service)
	}
}

func (c *checker) hookURL(p *path, text string) {
	u, err := url.Parse(text)
	if err != nil {
		c.required(p, "url must be a valid URL: "+err.Error()+desiredURL)
		return
	}
	if u.Scheme != "https" {
		c.invalid(p, u.Scheme, "'https' is the only allowed URL scheme"+desiredURL)
	}
	if u.Host == "" {
		c.invalid(p, u.Host, "host must be specified"+desiredURL)
	}
	if u.User != nil {
		c.invalid(p, u.User.String(), "user information is not permitted in the URL")
	}
	if u.Fragment != "" {
		c.invalid(p, u.Fragment, "fragments are not permitted in the URL")
	}
	if u.RawQuery != "" {
		c.invalid(p, u.RawQuery, "query parameters are not permitted in the URL")
	}
}

func (c *checker) hookService(p *path, s *admissionv1.ServiceReference) {
	if s.Name == "" {
		c.required(p.Child("name"), "")
	}
	if s.Namespace == "" {
		c.required(p.Child("namespace"), "")
	}
	if problems := validation.IsValidPortNum(int(deref(s.Port, 0))); len(problems) > 0 {
		c.invalid(p.Child("port"), deref(s.Port, 0), "port is not valid: "+strings.Join(problems, ", "))
	}
	if s.Path != nil {
		c.hookPath(p.Child("path"), *s.Path)
	}
}

// hookPath checks a URL's path, segment by segment.
func (c *checker) hookPath(p *path, text string) {
	if text == "" || text == "/" {
		return
	}
	if text == "//" {
		c.invalid(p, text, "segment[0] may not be empty")
		return
	}
	if text[0] != '/' {
		c.invalid(p, text, "must start with a '/'")
	}
	for i, segment := range strings.Split(strings.TrimSuffix(text[1:], "/"), "/") {
		number := "segment[" + strconv.Itoa(i) + "]"
		if segment == "" {
			c.invalid(p, text, number+" may not be empty")
			continue
		}
		for _, problem := range validation.IsDNS1123Subdomain(segment) {
			c.invalid(p, text, number+": "+problem)
		}
	}
}

func (c *checker) reviewVersions(p *path, versions []string, strict bool) {
	if len(versions) == 0 {
		c.required(p, "must specify one of "+strings.Join(reviewVersions, ", "))
		return
	}
	for i, v := range versions {
		if slices.Contains(versions[:i], v) {
			c.invalid(p.Index(i), v, "duplicate version")
			continue
		}
		for _, problem := range validation.IsDNS1035Label(v) {
			c.invalid(p.Index(i), v, problem)
		}
	}
	if strict && !slices.ContainsFunc(versions, recognised) {
		c.invalid(p, versions, "must include at least one of "+strings.Join(reviewVersions, ", "))
	}
}
