package kinds

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	apipath "k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/util/jsonpath"

	"github.com/headway-sh/headway/apiserver/expression"
)

const (
	maxAuditAnnotations = 20
	// maxValueExpression bounds the expression of an audit annotation, bytes.
	maxValueExpression = 5 << 10
)

func checkAdmissionPolicy(o, old *admissionv1.ValidatingAdmissionPolicy) fieldErrors {
	c, p, s := &policyChecker{}, field.NewPath("spec"), &o.Spec
	c.remember(old)
	c.begin(p, s.FailurePolicy, s.ParamKind, len(s.Variables) > 0)
	if s.MatchConstraints == nil {
		c.required(p.Child("matchConstraints"), "")
	} else {
		c.matchResources(p.Child("matchConstraints"), s.MatchConstraints)
		if len(s.MatchConstraints.ResourceRules) == 0 {
			c.required(p.Child("matchConstraints", "resourceRules"), "")
		}
	}
	if old == nil || !equality.Semantic.DeepEqual(s.ParamKind, old.Spec.ParamKind) || !equality.Semantic.DeepEqual(s.MatchConditions, old.Spec.MatchConditions) {
		c.matchConditions(p.Child("matchConditions"), s.MatchConditions, c.by, c.conditions)
	}
	for i := range s.Variables {
		c.variable(p.Child("variables").Index(i), &s.Variables[i])
	}
	if len(s.Validations)+len(s.AuditAnnotations) == 0 {
		const some = "validations or auditAnnotations must contain at least one item"
		c.required(p.Child("validations"), some)
		c.required(p.Child("auditAnnotations"), some)
	}
	for i := range s.Validations {
		c.validation(p.Child("validations").Index(i), &s.Validations[i])
	}
	c.auditAnnotations(p.Child("auditAnnotations"), o.Name, s.AuditAnnotations)
	return c.errs
}

// policyChecker checks the expressions of one policy. The maps have what was
// accepted before.
type policyChecker struct {
	checker
	by                                         *expression.Checker
	conditions, validations, messages, annotes map[string]bool
}

// begin checks what both kinds of policies begin with, and makes the checker of
// their expressions.
func (c *policyChecker) begin(p *field.Path, failure *admissionv1.FailurePolicyType, params *admissionv1.ParamKind, variables bool) {
	c.by = expression.NewChecker(params != nil, variables)
	if failure == nil {
		c.required(p.Child("failurePolicy"), "")
	}
	oneOfPtr(&c.checker, p, "failurePolicy", failure, admissionv1.Fail, admissionv1.Ignore)
	if params != nil {
		c.paramKind(p.Child("paramKind"), params)
	}
}

func (c *policyChecker) remember(old *admissionv1.ValidatingAdmissionPolicy) {
	c.conditions, c.validations, c.messages, c.annotes = map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	if old == nil {
		return
	}
	for _, m := range old.Spec.MatchConditions {
		c.conditions[m.Expression] = true
	}
	for _, v := range old.Spec.Variables {
		c.validations[v.Expression] = true
	}
	for _, v := range old.Spec.Validations {
		c.validations[v.Expression], c.messages[v.MessageExpression] = true, true
	}
	for _, a := range old.Spec.AuditAnnotations {
		c.annotes[a.ValueExpression] = true
	}
}

func (c *policyChecker) paramKind(p *path, k *admissionv1.ParamKind) {
	group, version, found := strings.Cut(k.APIVersion, "/")
	if !found {
		group, version = "", k.APIVersion
	}
	at := p.Child("apiVersion")
	switch {
	case k.APIVersion == "":
		c.required(at, "")
	case strings.Contains(version, "/"):
		c.invalid(at, k.APIVersion, "unexpected GroupVersion string: "+k.APIVersion)
	case version == "":
		c.invalid(at, k.APIVersion, "version must be specified")
	default:
		if problems := validation.IsDNS1123Subdomain(group); group != "" && len(problems) > 0 {
			c.invalid(at, group, strings.Join(problems, ","))
		}
		if problems := validation.IsDNS1035Label(version); len(problems) > 0 {
			c.invalid(at, version, strings.Join(problems, ","))
		}
	}
	if k.Kind == "" {
		c.required(p.Child("kind"), "")
	} else if problems := validation.IsDNS1035Label(strings.ToLower(k.Kind)); len(problems) > 0 {
		c.invalid(p.Child("kind"), k.Kind, "may have mixed case, but should otherwise match: "+strings.Join(problems, ","))
	}
}

func (c *policyChecker) variable(p *path, v *admissionv1.Variable) {
	if strings.TrimSpace(v.Name) == "" {
		c.required(p.Child("name"), "name is not specified")
	} else if !isIdentifier(v.Name) {
		c.invalid(p.Child("name"), v.Name, "must be a valid CEL identifier")
	}
	if strings.TrimSpace(v.Expression) == "" {
		c.required(p.Child("expression"), "expression is not specified")
		return
	}
	c.compiles(p.Child("expression"), v.Expression, c.by.Variable(v.Name, v.Expression, c.validations[v.Expression]))
}

func (c *policyChecker) validation(p *path, v *admissionv1.Validation) {
	if strings.TrimSpace(v.Expression) == "" {
		c.required(p.Child("expression"), "expression is not specified")
	} else {
		c.compiles(p.Child("expression"), v.Expression, c.by.Validation(v.Expression, c.validations[v.Expression]))
	}
	if v.MessageExpression != "" {
		if strings.TrimSpace(v.MessageExpression) == "" {
			c.invalid(p.Child("messageExpression"), v.MessageExpression, "must be non-empty if specified")
		} else {
			c.compiles(p.Child("messageExpression"), v.MessageExpression, c.by.Message(v.MessageExpression, c.messages[v.MessageExpression]))
		}
	}
	if text := strings.TrimSpace(v.Message); v.Message != "" && text == "" {
		c.invalid(p.Child("message"), v.Message, "message must be non-empty if specified")
	} else if lines(text) {
		c.invalid(p.Child("message"), v.Message, "message must not contain line breaks")
	} else if text == "" && lines(strings.TrimSpace(v.Expression)) {
		c.required(p.Child("message"), "message must be specified if expression contains line breaks")
	}
	oneOfPtr(&c.checker, p, "reason", v.Reason, metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge)
}

func lines(text string) bool { return strings.ContainsAny(text, "\n\r") }

func (c *policyChecker) auditAnnotations(p *path, policy string, list []admissionv1.AuditAnnotation) {
	if len(list) > maxAuditAnnotations {
		c.invalid(p, list, fmt.Sprintf("must not have more than %d auditAnnotations", maxAuditAnnotations))
	}
	var keys []string
	for i := range list {
		at, a := p.Index(i), &list[i]
		if policy == "" {
			c.invalid(at.Child("key"), a.Key, "requires metadata.name be non-empty")
		} else {
			c.checker.messages(at, "key", policy+"/"+a.Key, validation.IsQualifiedName(policy+"/"+a.Key))
		}
		switch text := strings.TrimSpace(a.ValueExpression); {
		case text == "":
			c.required(at.Child("valueExpression"), "valueExpression is not specified")
		case len(text) > maxValueExpression:
			c.required(at.Child("valueExpression"), fmt.Sprintf("must not exceed %d bytes in length", maxValueExpression))
		default:
			c.compiles(at.Child("valueExpression"), a.ValueExpression, c.by.AuditAnnotation(text, c.annotes[a.ValueExpression]))
		}
		if slices.Contains(keys, a.Key) {
			c.add(field.Duplicate(at.Child("key"), a.Key))
		}
		keys = append(keys, a.Key)
	}
}

var identifier = regexp.MustCompile("^[_a-zA-Z][_a-zA-Z0-9]*$")

// isIdentifier tells whether a name can be used in an expression.
func isIdentifier(name string) bool {
	switch name {
	case "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
		"loop", "package", "namespace", "return", "var", "void", "while":
		return false
	}
	return identifier.MatchString(name)
}

func checkPolicyStatus(o, _ *admissionv1.ValidatingAdmissionPolicy) fieldErrors {
	c, p := &checker{}, field.NewPath("status")
	if t := o.Status.TypeChecking; t != nil {
		for i, w := range t.ExpressionWarnings {
			at := p.Child("typeChecking", "expressionWarnings").Index(i)
			if w.Warning == "" {
				c.required(at.Child("warning"), "")
			}
			ref := strings.TrimSpace(w.FieldRef)
			if ref == "" {
				c.required(at.Child("fieldRef"), "")
			} else if err := jsonpath.New("spec").Parse("{" + ref + "}"); err != nil {
				c.invalid(at.Child("fieldRef"), ref, "invalid JSONPath: "+err.Error())
			}
		}
	}
	c.add(metavalidation.ValidateConditions(o.Status.Conditions, p.Child("conditions"))...)
	return c.errs
}

var actions = []admissionv1.ValidationAction{admissionv1.Audit, admissionv1.Deny, admissionv1.Warn}

// bound checks what the bindings of both kinds of policies have.
func (c *checker) bound(p *field.Path, policy string, params *admissionv1.ParamRef, match *admissionv1.MatchResources) {
	if policy == "" {
		c.required(p.Child("policyName"), "")
	} else {
		c.messages(p, "policyName", policy, apivalidation.NameIsDNSSubdomain(policy, false))
	}
	if params != nil {
		c.paramRef(p.Child("paramRef"), params)
	}
	if match != nil {
		c.matchResources(p.Child("matchResources"), match)
	}
}

func checkPolicyBinding(o, _ *admissionv1.ValidatingAdmissionPolicyBinding) fieldErrors {
	c, p, s := &checker{}, field.NewPath("spec"), &o.Spec
	c.bound(p, s.PolicyName, s.ParamRef, s.MatchResources)
	at := p.Child("validationActions")
	for i, action := range s.ValidationActions {
		if !slices.Contains(actions, action) {
			c.add(field.NotSupported(at.Index(i), action, actions))
		}
		if slices.Contains(s.ValidationActions[:i], action) {
			c.add(field.Duplicate(at.Index(i), action))
		}
	}
	if slices.Contains(s.ValidationActions, admissionv1.Deny) && slices.Contains(s.ValidationActions, admissionv1.Warn) {
		c.invalid(at, s.ValidationActions, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)")
	}
	if len(s.ValidationActions) == 0 {
		c.required(at, "")
	}
	return c.errs
}

func (c *checker) paramRef(p *path, r *admissionv1.ParamRef) {
	const exclusive = "name and selector are mutually exclusive"
	if r.Name != "" {
		c.messages(p, "name", r.Name, apipath.ValidatePathSegmentName(r.Name, false))
		if r.Selector != nil {
			c.forbidden(p.Child("name"), exclusive)
			c.forbidden(p.Child("selector"), exclusive)
		}
	}
	c.selector(p.Child("selector"), r.Selector)
	if r.Name == "" && r.Selector == nil {
		c.required(p, "one of name or selector must be specified")
	}
	if r.ParameterNotFoundAction == nil || *r.ParameterNotFoundAction == "" {
		c.required(p.Child("parameterNotFoundAction"), "")
		return
	}
	oneOfPtr(c, p, "parameterNotFoundAction", r.ParameterNotFoundAction, admissionv1.DenyAction, admissionv1.AllowAction)
}
