package kinds_test

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestWebhookValidation(t *testing.T) {
	type configuration = admissionv1.ValidatingWebhookConfiguration
	first := func(change func(*admissionv1.ValidatingWebhook)) func(*configuration) {
		return func(c *configuration) { change(&c.Webhooks[0]) }
	}
	with := func(name string, change func(*admissionv1.ValidatingWebhook), want string) mutation {
		return on("validatingwebhookconfiguration", name, first(change), want)
	}
	resources := func(list ...string) func(*admissionv1.ValidatingWebhook) {
		return func(w *admissionv1.ValidatingWebhook) { w.Rules[0].Resources = list }
	}
	url := func(text string) func(*admissionv1.ValidatingWebhook) {
		return func(w *admissionv1.ValidatingWebhook) {
			w.ClientConfig = admissionv1.WebhookClientConfig{URL: &text}
		}
	}
	path := func(text string) func(*admissionv1.ValidatingWebhook) {
		return func(w *admissionv1.ValidatingWebhook) { w.ClientConfig.Service.Path = &text }
	}
	runMutations(t, []mutation{
		with("name", func(w *admissionv1.ValidatingWebhook) { w.Name = "short" },
			`webhooks[0].name: Invalid value: "short": should be a domain with at least three segments separated by dots`),
		with("name twice", func(w *admissionv1.ValidatingWebhook) { w.Name = "names.example.com" }, `webhooks[1].name: Duplicate value: "names.example.com"`),
		with("no client", func(w *admissionv1.ValidatingWebhook) { w.ClientConfig.Service = nil }, "webhooks[0].clientConfig: Required value: exactly one of url or service is required"),
		with("http", url("http://x.example.com"), `webhooks[0].clientConfig.url: Invalid value: "http": 'https' is the only allowed URL scheme; desired format: https://host[/path]`),
		with("loopback", url("https://127.0.0.1:8443/check"), ""),
		with("query", url("https://x.example.com/?a=b"), `webhooks[0].clientConfig.url: Invalid value: "a=b": query parameters are not permitted in the URL`),
		with("user", url("https://me@x.example.com/"), `webhooks[0].clientConfig.url: Invalid value: "me": user information is not permitted in the URL`),
		with("fragment", url("https://x.example.com/#a"), `webhooks[0].clientConfig.url: Invalid value: "a": fragments are not permitted in the URL`),
		with("host", url("https:///a"), `webhooks[0].clientConfig.url: Invalid value: "": host must be specified`),
		with("service port", func(w *admissionv1.ValidatingWebhook) { w.ClientConfig.Service.Port = ptr.To[int32](0) },
			"webhooks[0].clientConfig.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive"),
		with("relative path", path("check"), `webhooks[0].clientConfig.service.path: Invalid value: "check": must start with a '/'`),
		with("empty segment", path("/a//b"), `webhooks[0].clientConfig.service.path: Invalid value: "/a//b": segment[1] may not be empty`),
		with("two slashes", path("//"), `webhooks[0].clientConfig.service.path: Invalid value: "//": segment[0] may not be empty`),
		with("side effects missing", func(w *admissionv1.ValidatingWebhook) { w.SideEffects = nil }, "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun"),
		with("side effects", func(w *admissionv1.ValidatingWebhook) { w.SideEffects = ptr.To(admissionv1.SideEffectClassSome) },
			`webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"`),
		with("time-out", func(w *admissionv1.ValidatingWebhook) { w.TimeoutSeconds = ptr.To[int32](31) },
			"webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"),
		with("failure policy", func(w *admissionv1.ValidatingWebhook) {
			w.FailurePolicy = ptr.To[admissionv1.FailurePolicyType]("Open")
		},
			`webhooks[0].failurePolicy: Unsupported value: "Open"`),
		with("selector", func(w *admissionv1.ValidatingWebhook) {
			w.ObjectSelector.MatchLabels = map[string]string{"a": "b c"}
		}, `webhooks[0].objectSelector.matchLabels: Invalid value: "b c"`),
		with("no versions", func(w *admissionv1.ValidatingWebhook) { w.AdmissionReviewVersions = nil },
			"webhooks[0].admissionReviewVersions: Required value: must specify one of v1"),
		with("unknown version", func(w *admissionv1.ValidatingWebhook) { w.AdmissionReviewVersions = []string{"v3"} },
			`webhooks[0].admissionReviewVersions: Invalid value: ["v3"]: must include at least one of v1`),
		with("old version only", func(w *admissionv1.ValidatingWebhook) { w.AdmissionReviewVersions = []string{"v1beta1"} },
			`webhooks[0].admissionReviewVersions: Invalid value: ["v1beta1"]: must include at least one of v1`),
		with("operations", func(w *admissionv1.ValidatingWebhook) {
			w.Rules[0].Operations = []admissionv1.OperationType{"*", "CREATE"}
		}, `webhooks[0].rules[0].operations: Invalid value: ["*","CREATE"]: if '*' is present, must not specify other operations`),
		with("operation", func(w *admissionv1.ValidatingWebhook) { w.Rules[0].Operations[0] = "PATCH" },
			`webhooks[0].rules[0].operations[0]: Unsupported value: "PATCH"`),
		with("groups", func(w *admissionv1.ValidatingWebhook) { w.Rules[0].APIGroups = []string{"*", "apps"} },
			`webhooks[0].rules[0].apiGroups: Invalid value: ["*","apps"]: if '*' is present, must not specify other API groups`),
		with("version missing", func(w *admissionv1.ValidatingWebhook) { w.Rules[0].APIVersions = []string{""} }, "webhooks[0].rules[0].apiVersions[0]: Required value"),
		with("no resources", resources(), "webhooks[0].rules[0].resources: Required value"),
		with("covered", resources("pods/*", "pods/status"), `webhooks[0].rules[0].resources[1]: Invalid value: "pods/status": if 'pods/*' is present, must not specify pods/status`),
		with("all covered", resources("pods", "*/*"), `webhooks[0].rules[0].resources: Invalid value: ["pods","*/*"]: if '*/*' is present, must not specify other resources`),
		with("any covered", resources("*", "pods"), `webhooks[0].rules[0].resources: Invalid value: ["*","pods"]: if '*' is present, must not specify other resources without subresources`),
		with("any and subresources", resources("*", "pods/exec"), ""),
		with("condition", func(w *admissionv1.ValidatingWebhook) { w.MatchConditions[0].Expression = "object.x ==" },
			"webhooks[0].matchConditions[0].expression: Invalid value: \"object.x ==\": compilation failed: ERROR: <input>:1:12: Syntax error"),
		with("condition of another type", func(w *admissionv1.ValidatingWebhook) { w.MatchConditions[0].Expression = "'a'" },
			`webhooks[0].matchConditions[0].expression: Invalid value: "'a'": must evaluate to bool`),
		with("condition with params", func(w *admissionv1.ValidatingWebhook) { w.MatchConditions[0].Expression = "params.x" },
			`webhooks[0].matchConditions[0].expression: Invalid value: "params.x": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params'`),
		with("condition without a name", func(w *admissionv1.ValidatingWebhook) { w.MatchConditions[0].Name = "" }, "webhooks[0].matchConditions[0].name: Required value"),
		on("mutatingwebhookconfiguration", "reinvocation", func(c *admissionv1.MutatingWebhookConfiguration) {
			c.Webhooks[0].ReinvocationPolicy = ptr.To[admissionv1.ReinvocationPolicyType]("Always")
		}, `webhooks[0].reinvocationPolicy: Unsupported value: "Always": supported values: "IfNeeded", "Never"`),
	})
}

// TestStoredWebhooksMayStayWrong lets what a stored configuration is wrong in
// already pass an update.
func TestStoredWebhooksMayStayWrong(t *testing.T) {
	t.Parallel()
	k, old := valid[*admissionv1.ValidatingWebhookConfiguration](t, "validatingwebhookconfiguration")
	old.SetResourceVersion("1")
	old.Webhooks[0].SideEffects = ptr.To(admissionv1.SideEffectClassUnknown)
	old.Webhooks[0].AdmissionReviewVersions = []string{"v0"}
	old.Webhooks[0].MatchConditions[0].Expression = "fromTheFuture()"
	old.Webhooks[0].ObjectSelector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "a", Operator: "In", Values: []string{"b c"}}}
	o := old.DeepCopy()
	o.Webhooks[0].TimeoutSeconds = ptr.To[int32](1)
	if errs := check(k, o, old); len(errs) > 0 {
		t.Errorf("refused: %v", errs.ToAggregate())
	}
	o.Webhooks[0].MatchConditions[0].Name = "renamed"
	if errs := check(k, o, old); len(errs) != 1 || errs[0].Field != "webhooks[0].matchConditions[0].expression" {
		t.Errorf("a changed condition: %v", errs.ToAggregate())
	}
}

func TestAdmissionPolicyValidation(t *testing.T) {
	type policy = admissionv1.ValidatingAdmissionPolicy
	with := func(name string, change func(*admissionv1.ValidatingAdmissionPolicySpec), want string) mutation {
		return on("validatingadmissionpolicy", name, func(p *policy) { change(&p.Spec) }, want)
	}
	expression := func(text string) func(*admissionv1.ValidatingAdmissionPolicySpec) {
		return func(s *admissionv1.ValidatingAdmissionPolicySpec) { s.Validations[1].Expression = text }
	}
	runMutations(t, []mutation{
		with("no constraints", func(s *admissionv1.ValidatingAdmissionPolicySpec) { s.MatchConstraints = nil }, "spec.matchConstraints: Required value"),
		with("no rules", func(s *admissionv1.ValidatingAdmissionPolicySpec) { s.MatchConstraints.ResourceRules = nil },
			"spec.matchConstraints.resourceRules: Required value"),
		with("param kind", func(s *admissionv1.ValidatingAdmissionPolicySpec) { s.ParamKind.APIVersion = "a/b/c" },
			`spec.paramKind.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c`),
		with("param kind's name", func(s *admissionv1.ValidatingAdmissionPolicySpec) { s.ParamKind.Kind = "A B" },
			`spec.paramKind.kind: Invalid value: "A B": may have mixed case, but should otherwise match: `),
		with("line and column", expression("true &&\n  object.spec.replicas >"),
			"spec.validations[1].expression: Invalid value: \"true &&\\n  object.spec.replicas >\": compilation failed: ERROR: <input>:2:25: Syntax error"),
		with("type", expression("1"), `spec.validations[1].expression: Invalid value: "1": must evaluate to bool`),
		with("unknown variable", expression("variables.none"), `spec.validations[1].expression: Invalid value: "variables.none": compilation failed: ERROR: <input>:1:10: undefined field 'none'`),
		with("empty", expression(" "), "spec.validations[1].expression: Required value: expression is not specified"),
		with("message", func(s *admissionv1.ValidatingAdmissionPolicySpec) { s.Validations[1].Message = "a\nb" },
			`spec.validations[1].message: Invalid value: "a\nb": message must not contain line breaks`),
		with("no message", func(s *admissionv1.ValidatingAdmissionPolicySpec) {
			s.Validations[1].Message, s.Validations[1].Expression = "", "true ||\nfalse"
		}, "spec.validations[1].message: Required value: message must be specified if expression contains line breaks"),
		with("message expression", func(s *admissionv1.ValidatingAdmissionPolicySpec) {
			s.Validations[0].MessageExpression = "authorizer.path('/x').check('get').reason()"
		}, `spec.validations[0].messageExpression: Invalid value: "authorizer.path('/x').check('get').reason()": compilation failed: ERROR: <input>:1:1: undeclared reference to 'authorizer'`),
		with("reason", func(s *admissionv1.ValidatingAdmissionPolicySpec) {
			s.Validations[0].Reason = ptr.To(metav1.StatusReasonGone)
		},
			`spec.validations[0].reason: Unsupported value: "Gone"`),
		with("variable's name", func(s *admissionv1.ValidatingAdmissionPolicySpec) {
			s.Variables = append(s.Variables, admissionv1.Variable{Name: "in", Expression: "1"})
		},
			`spec.variables[2].name: Invalid value: "in": must be a valid CEL identifier`),
		with("nothing to do", func(s *admissionv1.ValidatingAdmissionPolicySpec) { s.Validations = nil }, ""),
		with("annotation key", func(s *admissionv1.ValidatingAdmissionPolicySpec) { s.AuditAnnotations[0].Key = "a b" },
			`spec.auditAnnotations[0].key: Invalid value: "replicas/a b"`),
		with("annotation type", func(s *admissionv1.ValidatingAdmissionPolicySpec) { s.AuditAnnotations[0].ValueExpression = "1" },
			`spec.auditAnnotations[0].valueExpression: Invalid value: "1": must evaluate to one of [string null_type]`),
		with("names twice", func(s *admissionv1.ValidatingAdmissionPolicySpec) {
			s.MatchConstraints.ExcludeResourceRules[0].ResourceNames = []string{"a", "a"}
		}, `spec.matchConstraints.excludeResourceRules[0].resourceNames[1]: Duplicate value: "a"`),
		on("validatingadmissionpolicybinding", "no policy", func(b *admissionv1.ValidatingAdmissionPolicyBinding) { b.Spec.PolicyName = "" }, "spec.policyName: Required value"),
		on("validatingadmissionpolicybinding", "deny and warn", func(b *admissionv1.ValidatingAdmissionPolicyBinding) {
			b.Spec.ValidationActions = []admissionv1.ValidationAction{"Deny", "Warn"}
		}, `spec.validationActions: Invalid value: ["Deny","Warn"]: must not contain both Deny and Warn`),
		on("validatingadmissionpolicybinding", "no action", func(b *admissionv1.ValidatingAdmissionPolicyBinding) { b.Spec.ValidationActions = nil },
			"spec.validationActions: Required value"),
		on("validatingadmissionpolicybinding", "no param", func(b *admissionv1.ValidatingAdmissionPolicyBinding) { b.Spec.ParamRef.Name = "" },
			"spec.paramRef: Required value: one of name or selector must be specified"),
		on("validatingadmissionpolicybinding", "not found action", func(b *admissionv1.ValidatingAdmissionPolicyBinding) { b.Spec.ParamRef.ParameterNotFoundAction = nil },
			"spec.paramRef.parameterNotFoundAction: Required value"),
	})
}

func TestMutatingPolicyValidation(t *testing.T) {
	with := func(name string, change func(*admissionv1.MutatingAdmissionPolicySpec), want string) mutation {
		return on("mutatingadmissionpolicy", name, func(p *admissionv1.MutatingAdmissionPolicy) { change(&p.Spec) }, want)
	}
	apply := func(text string) func(*admissionv1.MutatingAdmissionPolicySpec) {
		return func(s *admissionv1.MutatingAdmissionPolicySpec) { s.Mutations[0].ApplyConfiguration.Expression = text }
	}
	runMutations(t, []mutation{
		with("no constraints", func(s *admissionv1.MutatingAdmissionPolicySpec) { s.MatchConstraints = nil }, "spec.matchConstraints: Required value"),
		with("no rules", func(s *admissionv1.MutatingAdmissionPolicySpec) { s.MatchConstraints.ResourceRules = nil },
			"spec.matchConstraints.resourceRules: Required value"),
		with("deletions", func(s *admissionv1.MutatingAdmissionPolicySpec) {
			s.MatchConstraints.ResourceRules[0].Operations = []admissionv1.OperationType{"DELETE"}
		}, `spec.matchConstraints.resourceRules[0].operations[0]: Unsupported value: "DELETE"`),
		with("nothing to do", func(s *admissionv1.MutatingAdmissionPolicySpec) { s.Mutations = nil },
			"spec.mutations: Required value: mutations must contain at least one item"),
		with("no patch type", func(s *admissionv1.MutatingAdmissionPolicySpec) { s.Mutations[0].PatchType = "" }, "spec.mutations[0].patchType: Required value"),
		with("patch type", func(s *admissionv1.MutatingAdmissionPolicySpec) { s.Mutations[0].PatchType = "Merge" },
			`spec.mutations[0].patchType: Unsupported value: "Merge"`),
		with("none of the type", func(s *admissionv1.MutatingAdmissionPolicySpec) { s.Mutations[1].JSONPatch = nil },
			"spec.mutations[1].jsonPatch: Required value: must be specified when patchType is JSONPatch"),
		with("both types", func(s *admissionv1.MutatingAdmissionPolicySpec) {
			s.Mutations[0].JSONPatch = s.Mutations[1].JSONPatch
		}, "spec.mutations[0].jsonPatch: Forbidden: must not be specified when patchType is ApplyConfiguration"),
		with("empty", apply(" "), "spec.mutations[0].applyConfiguration.expression: Required value: expression is not specified"),
		with("type", apply("1"), `spec.mutations[0].applyConfiguration.expression: Invalid value: "1": must evaluate to Object`),
		with("syntax", apply("Object{"), `spec.mutations[0].applyConfiguration.expression: Invalid value: "Object{": compilation failed: ERROR: <input>:1:8: Syntax error`),
		with("unknown variable", apply("Object{spec: variables.none}"), `spec.mutations[0].applyConfiguration.expression: Invalid value: "Object{spec: variables.none}": compilation failed: ERROR: <input>:1:23: undefined field 'none'`),
		with("type of a patch", func(s *admissionv1.MutatingAdmissionPolicySpec) {
			s.Mutations[1].JSONPatch.Expression = "JSONPatch{op: 'add'}"
		},
			`spec.mutations[1].jsonPatch.expression: Invalid value: "JSONPatch{op: 'add'}": must evaluate to list(JSONPatch)`),
		with("reinvocation", func(s *admissionv1.MutatingAdmissionPolicySpec) { s.ReinvocationPolicy = "Always" },
			`spec.reinvocationPolicy: Unsupported value: "Always"`),
		on("mutatingadmissionpolicybinding", "no policy", func(b *admissionv1.MutatingAdmissionPolicyBinding) { b.Spec.PolicyName = "" }, "spec.policyName: Required value"),
		on("mutatingadmissionpolicybinding", "no param", func(b *admissionv1.MutatingAdmissionPolicyBinding) { b.Spec.ParamRef.Name = "" },
			"spec.paramRef: Required value: one of name or selector must be specified"),
	})
}

func TestPolicyStatusValidation(t *testing.T) {
	t.Parallel()
	k, o := valid[*admissionv1.ValidatingAdmissionPolicy](t, "validatingadmissionpolicy")
	o.Status.TypeChecking = &admissionv1.TypeChecking{ExpressionWarnings: []admissionv1.ExpressionWarning{
		{FieldRef: "spec.validations[0].expression", Warning: "no such field"}, {FieldRef: "spec.validations[", Warning: "x"}, {},
	}}
	var got []string
	for _, err := range k.Subresources["status"].Validate(o, o) {
		got = append(got, err.Field)
	}
	const at = "status.typeChecking.expressionWarnings"
	if want := at + "[1].fieldRef " + at + "[2].warning " + at + "[2].fieldRef"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}
