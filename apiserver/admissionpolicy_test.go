package apiserver_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	registrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver"
)

// policyOf makes a policy on the creation and change of config maps from the
// rest of its spec.
func policyOf(t *testing.T, client kubernetes.Interface, name, spec string) {
	t.Helper()
	p := &registrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	check(t, yaml.UnmarshalStrict([]byte(spec), &p.Spec))
	if p.Spec.MatchConstraints == nil {
		p.Spec.MatchConstraints = &registrationv1.MatchResources{}
	}
	for _, r := range forConfigMaps("CREATE", "UPDATE") {
		p.Spec.MatchConstraints.ResourceRules = append(p.Spec.MatchConstraints.ResourceRules, registrationv1.NamedRuleWithOperations{RuleWithOperations: r})
	}
	_, err := client.AdmissionregistrationV1().ValidatingAdmissionPolicies().Create(t.Context(), p, metav1.CreateOptions{})
	check(t, err)
}

func bindingOf(t *testing.T, client kubernetes.Interface, policy, name, spec string) {
	t.Helper()
	b := &registrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}}
	check(t, yaml.UnmarshalStrict([]byte(spec), &b.Spec))
	b.Spec.PolicyName = policy
	if len(b.Spec.ValidationActions) == 0 {
		b.Spec.ValidationActions = []registrationv1.ValidationAction{registrationv1.Deny}
	}
	_, err := client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Create(t.Context(), b, metav1.CreateOptions{})
	check(t, err)
}

// warned collects the warnings that a client is sent.
type warned struct {
	mu    sync.Mutex // guards texts
	texts []string
}

func (h *warned) HandleWarningHeader(_ int, _, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.texts = append(h.texts, text)
}

func (h *warned) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	texts := h.texts
	h.texts = nil
	return texts
}

func hearingClient(t *testing.T, server *apiserver.Server) (*kubernetes.Clientset, *warned) {
	t.Helper()
	h := &warned{}
	config := rest.CopyConfig(clientConfig(t, server, "admin", "system:masters"))
	config.WarningHandler = h
	client, err := kubernetes.NewForConfig(config)
	check(t, err)
	return client, h
}

// TestAdmissionPolicies goes through what expressions can see and say.
func TestAdmissionPolicies(t *testing.T) {
	t.Parallel()
	client, warnings := hearingClient(t, start(t))
	inNamespace(t, client, "shop")
	_, err := client.CoreV1().ConfigMaps("shop").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "limits", Labels: map[string]string{"limits": "yes"}}, Data: map[string]string{"most": "1"}}, metav1.CreateOptions{})
	check(t, err)
	const params = "paramKind: {apiVersion: v1, kind: ConfigMap}\n"
	tests := map[string]struct {
		policy, binding string
		want            string // the beginning of the refusal; "" for none
		code            int32
		warning         string
	}{
		"true": {policy: `validations: [{expression: "true"}]`},
		"false": {policy: `validations: [{expression: "object.data.size() > 5"}]`,
			want: "denied request: failed expression: object.data.size() > 5", code: http.StatusUnprocessableEntity},
		"message": {policy: `validations: [{expression: "false", message: "because", reason: Forbidden}]`,
			want: "denied request: because", code: http.StatusForbidden},
		"message expression": {policy: `validations: [{expression: "false", message: "because", messageExpression: "'no ' + object.metadata.name", reason: RequestEntityTooLarge}]`,
			want: "denied request: no a", code: http.StatusRequestEntityTooLarge},
		"message expression that fails": {policy: `validations: [{expression: "false", message: "because", messageExpression: "'no ' + object.nothing"}]`,
			want: "denied request: because", code: http.StatusUnprocessableEntity},
		"variables": {policy: "variables: [{name: size, expression: object.data.size()}, {name: more, expression: variables.size + 1}]\nvalidations: [{expression: variables.more == 2, message: two}, {expression: variables.more == 3, message: three}]",
			want: "denied request: three", code: http.StatusUnprocessableEntity},
		"namespace": {policy: `validations: [{expression: "namespaceObject.metadata.name == 'default'"}]`,
			want: "denied request: failed expression: namespaceObject", code: http.StatusUnprocessableEntity},
		"request":                 {policy: `validations: [{expression: "request.operation == 'CREATE' && request.userInfo.username == 'admin' && request.dryRun && oldObject == null && request.resource.resource == 'configmaps'"}]`},
		"authorizer":              {policy: `validations: [{expression: "authorizer.group('apps').resource('deployments').namespace('shop').check('delete').allowed()"}, {expression: "authorizer.requestResource.check('create').allowed()"}]`},
		"condition that is false": {policy: "matchConditions: [{name: c, expression: \"object.metadata.name == 'b'\"}]\nvalidations: [{expression: \"false\"}]"},
		"error": {policy: `validations: [{expression: object.nothing == 1}]`,
			want: "denied request: expression 'object.nothing == 1' resulted in error: no such key: nothing", code: http.StatusUnprocessableEntity},
		"error, ignored": {policy: "failurePolicy: Ignore\nvalidations: [{expression: object.nothing == 1}]"},
		"cost": {policy: `validations: [{expression: "[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, [1,2,3,4,5,6,7,8,9,10].all(f, a+b+c+d+e+f > 0))))))"}]`,
			want: "denied request: ", code: http.StatusUnprocessableEntity},
		"excluded":        {policy: "matchConstraints: {excludeResourceRules: [{apiGroups: [\"*\"], apiVersions: [\"*\"], operations: [\"*\"], resources: [\"*\"], resourceNames: [a]}]}\nvalidations: [{expression: \"false\"}]"},
		"bound elsewhere": {policy: `validations: [{expression: "false"}]`, binding: "matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: default}}}"},
		"warn": {policy: `validations: [{expression: "false", message: careful}]`, binding: "validationActions: [Warn, Audit]",
			warning: "Validation failed for ValidatingAdmissionPolicy 'warn' with binding 'warn': careful"},
		"param": {policy: params + `validations: [{expression: "object.data.size() > int(params.data.most)", messageExpression: "'more than ' + params.data.most"}]`,
			binding: "paramRef: {name: limits, parameterNotFoundAction: Deny}", want: "denied request: more than 1", code: http.StatusUnprocessableEntity},
		"params by label": {policy: params + `validations: [{expression: params.metadata.name != 'limits'}]`,
			binding: "paramRef: {selector: {matchLabels: {limits: \"yes\"}}, namespace: shop, parameterNotFoundAction: Allow}", want: "denied request: failed expression", code: http.StatusUnprocessableEntity},
		"no param, allowed": {policy: params + `validations: [{expression: "false"}]`, binding: "paramRef: {name: none, parameterNotFoundAction: Allow}"},
		"no param, denied": {policy: params + `validations: [{expression: "true"}]`, binding: "paramRef: {name: none, parameterNotFoundAction: Deny}",
			want: "denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction", code: http.StatusUnprocessableEntity},
		"param is null": {policy: params + `validations: [{expression: params == null}]`},
		"unknown param kind": {policy: "paramKind: {apiVersion: rules.example.com/v1, kind: Limit}\nvalidations: [{expression: \"true\"}]",
			want: "denied request: failed to configure policy: failed to find resource referenced by paramKind: 'rules.example.com/v1, Kind=Limit'", code: http.StatusUnprocessableEntity},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			id := strings.NewReplacer(" ", "-", ",", "").Replace(name)
			policyOf(t, client, id, tt.policy)
			bindingOf(t, client, id, id, tt.binding)
			warnings.take()
			_, err := makeConfigMap(t, client, "shop", "a", metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			if tt.want == "" && err != nil {
				t.Errorf("refused: %v", err)
			}
			begin := `configmaps "a" is forbidden: ValidatingAdmissionPolicy '` + id + `' `
			if tt.want != "" {
				s, ok := err.(apierrors.APIStatus)
				if !ok || s.Status().Code != tt.code || !strings.HasPrefix(err.Error(), begin) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %d %s%s", err, tt.code, begin, tt.want)
				}
			}
			if got := strings.Join(warnings.take(), "\n"); got != tt.warning {
				t.Errorf("warned %q, want %q", got, tt.warning)
			}
			check(t, client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Delete(t.Context(), id, metav1.DeleteOptions{}))
			check(t, client.AdmissionregistrationV1().ValidatingAdmissionPolicies().Delete(t.Context(), id, metav1.DeleteOptions{}))
		})
	}
}

// TestPolicyAndItsObjectsInOneCommit: a policy that comes in a commit judges
// the objects of the commit, and one that changes after the plan stops it.
func TestPolicyAndItsObjectsInOneCommit(t *testing.T) {
	t.Parallel()
	server := start(t)
	client := adminClient(t, server)
	db := server.Peer(txn.Identity{Name: "root", Groups: []string{"system:masters"}}).Txn()
	object := &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}}
	policy := &registrationv1.ValidatingAdmissionPolicy{TypeMeta: metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingAdmissionPolicy"}, ObjectMeta: metav1.ObjectMeta{Name: "p"},
		Spec: registrationv1.ValidatingAdmissionPolicySpec{Validations: []registrationv1.Validation{{Expression: "object.metadata.name != 'a'"}},
			MatchConstraints: &registrationv1.MatchResources{ResourceRules: []registrationv1.NamedRuleWithOperations{{RuleWithOperations: forConfigMaps("CREATE")[0]}}}}}
	binding := &registrationv1.ValidatingAdmissionPolicyBinding{TypeMeta: metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingAdmissionPolicyBinding"}, ObjectMeta: metav1.ObjectMeta{Name: "b"},
		Spec: registrationv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: "p", ValidationActions: []registrationv1.ValidationAction{"Deny"}}}
	creation := func(o txn.Object, group, resource string) txn.Change {
		ref := txn.Ref{Namespace: o.GetNamespace(), Name: o.GetName()}
		ref.Resource.Group, ref.Resource.Resource = group, resource
		return txn.Change{Verb: txn.Create, Ref: ref, Object: o}
	}
	all := []txn.Change{creation(policy, "admissionregistration.k8s.io", "validatingadmissionpolicies"),
		creation(binding, "admissionregistration.k8s.io", "validatingadmissionpolicybindings"), creation(object, "", "configmaps")}
	view, err := db.View(t.Context())
	check(t, err)
	identity := txn.Identity{Name: "root", Groups: []string{"system:masters"}}
	result, err := db.Plan(t.Context(), view, identity, all)
	check(t, err)
	if err := result.Outcomes[2].Err; result.Outcomes[0].Err != nil || err == nil || !strings.Contains(err.Error(), "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed expression: object.metadata.name != 'a'") {
		t.Errorf("planned %v, %v", result.Outcomes[0].Err, err)
	}

	// The next plan has another policy of the same name and generation.
	policy.Spec.Validations[0].Expression = "object.metadata.name != 'b'"
	object.Name = "a"
	result, err = db.Plan(t.Context(), view, identity, all)
	check(t, err)
	check(t, result.Err())
	policy.Spec.Validations[0].Expression = "object.metadata.name != 'a'"

	object.Name = "b"
	all[2].Ref.Name = "b"
	result, err = db.Plan(t.Context(), view, identity, all)
	check(t, err)
	_, err = db.Commit(t.Context(), result, txn.CommitOptions{})
	check(t, err)

	object.Name = "c"
	all[2].Ref.Name = "c"
	view, err = db.View(t.Context())
	check(t, err)
	result, err = db.Plan(t.Context(), view, identity, all[2:])
	check(t, err)
	check(t, result.Err())
	for _, other := range []string{"d", "c"} { // two next generations of one policy
		next := policy.DeepCopy()
		next.Spec.Validations[0].Expression = "object.metadata.name != '" + other + "'"
		update := all[0]
		update.Verb, update.Object = txn.Update, next
		planned, err := db.Plan(t.Context(), view, identity, []txn.Change{update, all[2]})
		check(t, err)
		if refused := planned.Outcomes[1].Err != nil; refused != (other == "c") {
			t.Errorf("planned with a policy against %s: %v", other, planned.Outcomes[1].Err)
		}
	}
	changed := checkedNow(t, client, "p") // nobody else writes to it now
	changed.Spec.Validations[0].Expression = "object.metadata.name != 'c'"
	_, err = client.AdmissionregistrationV1().ValidatingAdmissionPolicies().Update(t.Context(), changed, metav1.UpdateOptions{})
	check(t, err)
	if _, err = db.Commit(t.Context(), result, txn.CommitOptions{}); !txn.IsConflict(err) {
		t.Errorf("committed under a policy that has changed: %v", err)
	}
}

// TestPolicyRights lets nobody make a policy about what they may not read.
func TestPolicyRights(t *testing.T) {
	t.Parallel()
	server := start(t)
	admin := adminClient(t, server)
	check(t, admin.RbacV1().RESTClient().Post().Resource("clusterroles").SetHeader("Content-Type", "application/yaml").Body([]byte(`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"policies"},"rules":[{"apiGroups":["admissionregistration.k8s.io"],"resources":["*"],"verbs":["*"]}]}`)).Do(t.Context()).Error())
	check(t, admin.RbacV1().RESTClient().Post().Resource("clusterrolebindings").SetHeader("Content-Type", "application/yaml").Body([]byte(`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"policies"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"policies"},"subjects":[{"kind":"User","name":"ada","apiGroup":"rbac.authorization.k8s.io"}]}`)).Do(t.Context()).Error())
	ada := typedClient(t, server, "ada")
	rules := []registrationv1.NamedRuleWithOperations{{RuleWithOperations: forConfigMaps("CREATE")[0]}}
	_, err := ada.AdmissionregistrationV1().ValidatingAdmissionPolicies().Create(t.Context(), &registrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "secrets"},
		Spec: registrationv1.ValidatingAdmissionPolicySpec{ParamKind: &registrationv1.ParamKind{APIVersion: "v1", Kind: "Secret"}, Validations: []registrationv1.Validation{{Expression: "true"}},
			MatchConstraints: &registrationv1.MatchResources{ResourceRules: rules}}}, metav1.CreateOptions{})
	if want := `spec.paramKind: Forbidden: user ada must have "get" permission on all objects of the referenced paramKind (kind=Secret, apiVersion=v1)`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("policy: %v", err)
	}
	policyOf(t, admin, "secrets", "paramKind: {apiVersion: v1, kind: Secret}\nvalidations: [{expression: \"true\"}]")
	_, err = ada.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Create(t.Context(), &registrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "secrets"},
		Spec: registrationv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: "secrets", ValidationActions: []registrationv1.ValidationAction{"Deny"},
			ParamRef: &registrationv1.ParamRef{Name: "a", Namespace: "kube-system", ParameterNotFoundAction: ptr.To(registrationv1.DenyAction)}}}, metav1.CreateOptions{})
	if want := `spec.paramRef: Forbidden: user ada does not have "get" permission on the object referenced by paramRef`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("binding: %v", err)
	}
}
