package apiserver_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"
)

// mutatingPolicyOf makes a policy about new config maps and pods with the rest
// of its spec, and binds it as the binding says.
func mutatingPolicyOf(t *testing.T, client kubernetes.Interface, name, spec, binding string) {
	t.Helper()
	p := &registrationv1.MutatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	check(t, yaml.UnmarshalStrict([]byte(`matchConstraints: {resourceRules: [{apiGroups: ["*"], apiVersions: ["*"], operations: [CREATE], resources: [configmaps, pods, widgets]}]}`+"\n"+spec), &p.Spec))
	_, err := client.AdmissionregistrationV1().MutatingAdmissionPolicies().Create(t.Context(), p, metav1.CreateOptions{})
	check(t, err)
	b := &registrationv1.MutatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}}
	check(t, yaml.UnmarshalStrict([]byte("policyName: "+name+"\n"+binding), &b.Spec))
	_, err = client.AdmissionregistrationV1().MutatingAdmissionPolicyBindings().Create(t.Context(), b, metav1.CreateOptions{})
	check(t, err)
}

// forget takes policies and bindings away.
func forget(t *testing.T, client kubernetes.Interface, names ...string) {
	t.Helper()
	for _, name := range names {
		check(t, client.AdmissionregistrationV1().MutatingAdmissionPolicyBindings().Delete(t.Context(), name, metav1.DeleteOptions{}))
		check(t, client.AdmissionregistrationV1().MutatingAdmissionPolicies().Delete(t.Context(), name, metav1.DeleteOptions{}))
	}
}

func TestMutatingAdmissionPolicies(t *testing.T) {
	t.Parallel()
	client := adminClient(t, start(t))
	inNamespace(t, client, "shop")
	_, err := client.CoreV1().ConfigMaps("shop").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "params", Labels: map[string]string{"params": "yes"}}, Data: map[string]string{"team": "blue"}}, metav1.CreateOptions{})
	check(t, err)
	const params = "paramKind: {apiVersion: v1, kind: ConfigMap}\n"
	apply := func(text string) string {
		return "mutations: [{patchType: ApplyConfiguration, applyConfiguration: {expression: \"" + text + "\"}}]\n"
	}
	patch := func(text string) string {
		return "mutations: [{patchType: JSONPatch, jsonPatch: {expression: \"" + text + "\"}}]\n"
	}
	made := map[string]string{"made": "here"}
	for name, c := range map[string]struct {
		spec, binding string
		want          map[string]string // the data
		refused       string
	}{
		"apply":             {apply("Object{data: {'a': object.metadata.name}}"), "", map[string]string{"made": "here", "a": "thing"}, ""},
		"patch":             {patch("[JSONPatch{op: 'add', path: '/data/a', value: 'b'}, JSONPatch{op: 'remove', path: '/data/made'}]"), "", map[string]string{"a": "b"}, ""},
		"a test that fails": {patch("[JSONPatch{op: 'test', path: '/data/made', value: 'there'}, JSONPatch{op: 'remove', path: '/data/made'}]"), "", made, ""},
		"variables":         {"variables: [{name: who, expression: request.userInfo.username}]\n" + apply("Object{data: {'by': variables.who, 'in': namespaceObject.metadata.name}}"), "", map[string]string{"made": "here", "by": "admin", "in": "shop"}, ""},
		"params":            {params + apply("Object{data: {'team': params.data.team}}"), "paramRef: {name: params, namespace: shop, parameterNotFoundAction: Deny}", map[string]string{"made": "here", "team": "blue"}, ""},
		"no params":         {params + apply("Object{data: {'team': params.data.team}}"), "paramRef: {name: none, namespace: shop, parameterNotFoundAction: Deny}", nil, "policy 'no-params' with binding 'no-params' denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"},
		"condition":         {"matchConditions: [{name: no, expression: \"object.metadata.name != 'thing'\"}]\n" + apply("Object{data: {'a': 'b'}}"), "", made, ""},
		"another namespace": {apply("Object{data: {'a': 'b'}}"), "matchResources: {namespaceSelector: {matchLabels: {team: red}}}", made, ""},
		"two mutations":     {strings.TrimSuffix(apply("Object{data: {'a': 'b'}}"), "]\n") + ", {patchType: JSONPatch, jsonPatch: {expression: \"[JSONPatch{op: 'copy', from: '/data/a', path: '/data/c'}]\"}}]", "", map[string]string{"made": "here", "a": "b", "c": "b"}, ""},
		"fails":             {apply("Object{data: {'a': object.data.nothing}}"), "", nil, "policy 'fails' with binding 'fails' denied request: "},
		"fails, ignored":    {"failurePolicy: Ignore\n" + apply("Object{data: {'a': object.data.nothing}}"), "", made, ""},
		"a name":            {apply("Object{metadata: Object.metadata{name: 'other'}}"), "", nil, "admission may not change the name"},
		"rights":            {apply("Object{data: {'may': string(authorizer.group('').resource('pods').namespace('shop').check('create').allowed())}}"), "", map[string]string{"made": "here", "may": "true"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			name := strings.NewReplacer(" ", "-", ",", "").Replace(name)
			mutatingPolicyOf(t, client, name, c.spec, c.binding)
			defer forget(t, client, name)
			got, err := makeConfigMap(t, client, "shop", "thing", metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("%v, want %s", err, c.refused)
				}
				return
			}
			check(t, err)
			if diff := cmp.Diff(c.want, got.Data); diff != "" {
				t.Errorf("data (-want +got):\n%s", diff)
			}
		})
	}
}

// TestMutationsMergeLists adds a container beside those that there are: lists
// with keys are merged, and what comes is defaulted and gets its token.
func TestMutationsMergeLists(t *testing.T) {
	t.Parallel()
	client := adminClient(t, start(t))
	inNamespace(t, client, "shop")
	mutatingPolicyOf(t, client, "sidecars", `mutations: [{patchType: ApplyConfiguration, applyConfiguration: {expression: "Object{spec: Object.spec{containers: [Object.spec.containers{name: 'proxy', image: 'proxy'}, Object.spec.containers{name: 'web', workingDir: '/srv'}]}}"}}]`, "")
	pod, err := client.CoreV1().Pods("shop").Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web"}}}}, metav1.CreateOptions{})
	check(t, err)
	if c := pod.Spec.Containers; len(c) != 2 || c[1].Name != "web" || c[1].Image != "web" || c[1].WorkingDir != "/srv" || c[0].Name != "proxy" || c[0].ImagePullPolicy != corev1.PullAlways ||
		len(c[0].VolumeMounts) != 1 || len(pod.Spec.Volumes) != 1 {
		t.Errorf("containers %+v", c)
	}
	mutatingPolicyOf(t, client, "atomic", `mutations: [{patchType: ApplyConfiguration, applyConfiguration: {expression: "Object{spec: Object.spec{containers: [Object.spec.containers{name: 'web', args: ['a']}]}}"}}]`, "")
	_, err = client.CoreV1().Pods("shop").Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "again"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web"}}}}, metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), "may not mutate atomic arrays, maps or structs: .spec.containers[0].args") {
		t.Errorf("an atomic list: %v", err)
	}
}

// TestMutationsRunAgain has a policy see what a later one and a webhook change.
func TestMutationsRunAgain(t *testing.T) {
	t.Parallel()
	client := adminClient(t, start(t))
	count := func(key, policy string) string {
		return `mutations: [{patchType: ApplyConfiguration, applyConfiguration: {expression: "Object{data: {'` + key + `': has(object.data.` + key + `) ? object.data.` + key + ` + 'I' : 'I'}}"}}]` + "\nreinvocationPolicy: " + policy
	}
	mutatingPolicyOf(t, client, "a-once", count("once", "Never"), "")
	mutatingPolicyOf(t, client, "b-again", count("again", "IfNeeded"), "")
	hook := answering(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return patch(`[{"op":"add","path":"/data/hook","value":"yes"}]`)
	})
	hook.mutating(t, client, "changes")
	got, err := makeConfigMap(t, client, "default", "counted", metav1.CreateOptions{})
	check(t, err)
	if diff := cmp.Diff(map[string]string{"made": "here", "once": "I", "again": "II", "hook": "yes"}, got.Data); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
}

// TestMutationsOfCustomResources uses the definition's schema.
func TestMutationsOfCustomResources(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	mutatingPolicyOf(t, adminClient(t, s.server), "parts", `mutations: [{patchType: ApplyConfiguration, applyConfiguration: {expression: "Object{spec: Object.spec{parts: [Object.spec.parts{name: 'extra', count: 2}]}}"}}]`, "")
	w, err := s.widgets().Create(t.Context(), widget(t, "a", "{size: 3, parts: [{name: own, count: 1}]}"), metav1.CreateOptions{})
	check(t, err)
	parts, _, err := unstructured.NestedSlice(w.Object, "spec", "parts")
	check(t, err)
	want := []any{map[string]any{"name": "own", "count": int64(1)}, map[string]any{"name": "extra", "count": int64(2)}}
	if diff := cmp.Diff(want, parts); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
}
