package apiserver_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"
)

// checkedPolicy makes a policy and waits until its types are checked.
func checkedPolicy(t *testing.T, client *kubernetes.Clientset, name, spec string) *admissionv1.ValidatingAdmissionPolicy {
	t.Helper()
	p := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	check(t, yaml.UnmarshalStrict([]byte(spec), &p.Spec))
	_, err := client.AdmissionregistrationV1().ValidatingAdmissionPolicies().Create(t.Context(), p, metav1.CreateOptions{})
	check(t, err)
	return checkedNow(t, client, name)
}

func checkedNow(t *testing.T, client *kubernetes.Clientset, name string) (p *admissionv1.ValidatingAdmissionPolicy) {
	t.Helper()
	eventually(t, "the types are checked", func(ctx context.Context) (done bool, err error) {
		p, err = client.AdmissionregistrationV1().ValidatingAdmissionPolicies().Get(ctx, name, metav1.GetOptions{})
		return err == nil && p.Status.TypeChecking != nil && p.Status.ObservedGeneration == p.Generation, err
	})
	return p
}

func TestTypesOfPoliciesAreChecked(t *testing.T) {
	t.Parallel()
	client := adminClient(t, openShop(t).server)
	about := func(group, version, resource string) string {
		return "matchConstraints: {resourceRules: [{apiGroups: ['" + group + "'], apiVersions: [" + version + "], operations: ['*'], resources: [" + resource + "]}]}\n"
	}
	for name, c := range map[string]struct {
		spec string
		want map[string]string // what the warning of a field says
	}{
		"fits": {about("apps", "v1", "deployments") + `
variables: [{name: limits, expression: "object.spec.template.spec.containers.map(c, c.resources.limits['cpu'])"}]
validations:
- {expression: "object.spec.replicas <= 5 && oldObject.metadata.name == object.metadata.name"}
- {expression: "variables.limits.all(l, quantity(l).isLessThan(quantity('1')))", messageExpression: "'no ' + string(object.spec.replicas)"}
- {expression: "authorizer.group('').resource('pods').check('get').allowed() && request.userInfo.username != '' && namespaceObject.metadata.name != ''"}
`, nil},
		"no such field": {about("apps", "v1", "deployments") + `
validations: [{expression: "object.spec.replicas > 1"}, {expression: "object.spec.maxReplicas < 5", messageExpression: "string(object.meta.name)"}]
`, map[string]string{"spec.validations[1].expression": "undefined field 'maxReplicas'", "spec.validations[1].messageExpression": "undefined field 'meta'"}},
		"several kinds": {about("apps", "v1", "deployments, replicasets, daemonsets") + `
validations: [{expression: "object.spec.replicas > 1"}]
`, map[string]string{"spec.validations[0].expression": "apps/v1, Kind=DaemonSet: ERROR: <input>:1:12: undefined field 'replicas'"}},
		"wrong type": {about("", "v1", "services") + `
validations: [{expression: "object.spec.clusterIP > 1"}, {expression: "object.spec.ports.all(p, p.targetPort == 80)"}]
`, map[string]string{"spec.validations[0].expression": "no matching overload"}},
		"variables": {about("apps", "v1", "deployments") + `
variables: [{name: count, expression: object.spec.replicas}]
validations: [{expression: "variables.count == 'three'"}]
`, map[string]string{"spec.validations[0].expression": "no matching overload"}},
		"params": {about("", "v1", "pods") + `
paramKind: {apiVersion: v1, kind: ConfigMap}
validations: [{expression: "params.data.a == '1' && params.nothing == object.metadata.name"}]
`, map[string]string{"spec.validations[0].expression": "undefined field 'nothing'"}},
		"custom": {about("shop.example.com", "v1", "widgets") + `
validations: [{expression: "object.spec.size > 1"}, {expression: "object.spec.weight > 1"}]
`, map[string]string{"spec.validations[1].expression": "shop.example.com/v1, Kind=Widget: ERROR: <input>:1:12: undefined field 'weight'"}},
		"anything": {about("*", "'*'", "'*'") + `
validations: [{expression: "object.spec.nothing > 1"}]
`, nil},
		"not served": {about("example.com", "v9", "gadgets") + `
validations: [{expression: "object.spec.nothing > 1"}]
`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := checkedPolicy(t, client, strings.ReplaceAll(name, " ", "-"), c.spec)
			var want, got []string
			for _, w := range p.Status.TypeChecking.ExpressionWarnings {
				got = append(got, w.FieldRef)
				if !strings.Contains(w.Warning, c.want[w.FieldRef]) {
					t.Errorf("%s: %s", w.FieldRef, w.Warning)
				}
				if strings.Count(w.Warning, "ERROR") != 1 {
					t.Errorf("%s is about more than one kind: %s", w.FieldRef, w.Warning)
				}
			}
			for field := range c.want {
				want = append(want, field)
			}
			if diff := cmp.Diff(len(want), len(got)); diff != "" {
				t.Errorf("warnings %q, want %q", got, want)
			}
		})
	}
	t.Run("again", func(t *testing.T) {
		p := checkedNow(t, client, "no-such-field")
		p.Spec.Validations[1].Expression, p.Spec.Validations[1].MessageExpression = "object.spec.replicas < 9", ""
		_, err := client.AdmissionregistrationV1().ValidatingAdmissionPolicies().Update(t.Context(), p, metav1.UpdateOptions{})
		check(t, err)
		if p = checkedNow(t, client, p.Name); len(p.Status.TypeChecking.ExpressionWarnings) > 0 || p.Status.ObservedGeneration != 2 {
			t.Errorf("status %+v", p.Status)
		}
	})
}
