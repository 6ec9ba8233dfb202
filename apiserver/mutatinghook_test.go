package apiserver_test

import (
	"encoding/json"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	appsv1 "k8s.io/api/apps/v1"
)

// TestMutatingWebhooks lets webhooks build on one another: in order, defaulted
// and validated, and asked again as they wish.
func TestMutatingWebhooks(t *testing.T) {
	t.Parallel()
	client := adminClient(t, start(t))
	data := func(q *admissionv1.AdmissionRequest) map[string]string {
		var m corev1.ConfigMap
		check(t, json.Unmarshal(q.Object.Raw, &m))
		return m.Data
	}
	// The first one counts what it sees and is asked again if needed.
	first := answering(t, func(q *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return patch(`[{"op":"add","path":"/data/first","value":"saw ` + strconv.Itoa(len(data(q))) + `"}]`)
	})
	first.mutating(t, client, "a-first", func(w *registrationv1.MutatingWebhook) {
		w.ReinvocationPolicy = ptr.To(registrationv1.IfNeededReinvocationPolicy)
	})
	second := answering(t, func(q *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		switch q.Name {
		case "invalid":
			return patch(`[{"op":"add","path":"/data/a b","value":"x"}]`)
		case "renamed":
			return patch(`[{"op":"replace","path":"/metadata/name","value":"x"}]`)
		case "nonsense":
			return patch(`[{"op":"replace","path":"/nowhere/at/all","value":"x"}]`)
		case "unknown":
			return patch(`[{"op":"add","path":"/fromTheFuture","value":"x"}]`)
		}
		return patch(`[{"op":"add","path":"/data/second","value":"` + data(q)["first"] + `"},{"op":"remove","path":"/metadata/managedFields"}]`)
	})
	second.mutating(t, client, "b-second")

	made, err := makeConfigMap(t, client, "default", "good", metav1.CreateOptions{FieldManager: "tester"})
	check(t, err)
	if made.Data["first"] != "saw 3" || made.Data["second"] != "saw 1" || made.Data["made"] != "here" {
		t.Errorf("data %v", made.Data)
	}
	if a, b := len(first.questions()), len(second.questions()); a != 2 || b != 1 {
		t.Errorf("asked the first %d times and the second %d times, want 2 and 1", a, b)
	}
	if m := made.ManagedFields; len(m) != 1 || m[0].Manager != "tester" || strings.Contains(string(m[0].FieldsV1.Raw), "first") {
		t.Errorf("managed fields %v", m)
	}
	for name, want := range map[string]string{
		"invalid":  `ConfigMap "invalid" is invalid: data[a b]: Invalid value: "a b": a valid config key must consist of`,
		"renamed":  "Internal error occurred: admission may not change the name or namespace of",
		"nonsense": "Internal error occurred: ",
	} {
		if _, err := makeConfigMap(t, client, "default", name, metav1.CreateOptions{}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
	if _, err := makeConfigMap(t, client, "default", "unknown", metav1.CreateOptions{}); err != nil {
		t.Errorf("a field that nobody knows: %v", err)
	}
}

// TestMutatingWebhookOnDelete may refuse, and has nothing to patch.
func TestMutatingWebhookOnDelete(t *testing.T) {
	t.Parallel()
	client := adminClient(t, start(t))
	hook := answering(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return patch(`[{"op":"add","path":"/data","value":{}}]`)
	})
	hook.mutating(t, client, "late", func(w *registrationv1.MutatingWebhook) { w.Rules = forConfigMaps("DELETE") })
	_, err := makeConfigMap(t, client, "default", "a", metav1.CreateOptions{})
	check(t, err)
	err = client.CoreV1().ConfigMaps("default").Delete(t.Context(), "a", metav1.DeleteOptions{})
	if want := `admission webhook "late.example.com" attempted to modify the object, which is not supported for this operation`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v", err)
	}
}

// TestWebhooksSeeSubresources: a scale is shown as a Scale, an eviction as an
// Eviction, and an update in another version of the kind in that version.
func TestWebhooksSeeSubresources(t *testing.T) {
	t.Parallel()
	client := adminClient(t, start(t))
	inNamespace(t, client, "shop")
	hook := answering(t, func(q *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		switch q.SubResource {
		case "scale":
			return patch(`[{"op":"replace","path":"/spec/replicas","value":3}]`)
		case "eviction":
			return deny("it stays")
		}
		return nil
	})
	rules := []registrationv1.RuleWithOperations{
		{Operations: []registrationv1.OperationType{"UPDATE"}, Rule: registrationv1.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments/scale"}}},
		{Operations: []registrationv1.OperationType{"CREATE"}, Rule: registrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods/eviction"}}},
		{Operations: []registrationv1.OperationType{"CREATE"}, Rule: registrationv1.Rule{APIGroups: []string{"autoscaling"}, APIVersions: []string{"v1"}, Resources: []string{"horizontalpodautoscalers"}}},
	}
	hook.mutating(t, client, "parts", func(w *registrationv1.MutatingWebhook) { w.Rules = rules })

	labels := map[string]string{"app": "web"}
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	_, err := client.AppsV1().Deployments("shop").Create(t.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template}}, metav1.CreateOptions{})
	check(t, err)
	scale, err := client.AppsV1().Deployments("shop").UpdateScale(t.Context(), "web",
		&autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}, Spec: autoscalingv1.ScaleSpec{Replicas: 9}}, metav1.UpdateOptions{})
	check(t, err)
	if scale.Spec.Replicas != 3 {
		t.Errorf("scaled to %d, want the webhook's 3", scale.Spec.Replicas)
	}
	q := hook.questions()[0]
	if q.Kind.Kind != "Scale" || !strings.Contains(string(q.Object.Raw), `"replicas":9`) || !strings.Contains(string(q.OldObject.Raw), `"replicas":1`) {
		t.Errorf("asked about %v %s, was %s", q.Kind, q.Object.Raw, q.OldObject.Raw)
	}

	_, err = client.CoreV1().Pods("shop").Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: template.Spec}, metav1.CreateOptions{})
	check(t, err)
	err = client.CoreV1().Pods("shop").EvictV1(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "shop"}})
	if err == nil || err.Error() != `admission webhook "parts.example.com" denied the request: it stays` {
		t.Errorf("eviction: %v", err)
	}

	hook.forget()
	hpa := `{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","metadata":{"name":"h"},"spec":{"maxReplicas":3,"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"}}}`
	check(t, client.AutoscalingV2().RESTClient().Post().Namespace("shop").Resource("horizontalpodautoscalers").Body([]byte(hpa)).SetHeader("Content-Type", "application/json").Do(t.Context()).Error())
	q = hook.questions()[0]
	var object metav1.TypeMeta
	check(t, json.Unmarshal(q.Object.Raw, &object))
	if q.Kind.Version != "v1" || q.Resource.Version != "v1" || q.RequestKind.Version != "v2" || q.RequestResource.Version != "v2" || object.APIVersion != "autoscaling/v1" {
		t.Errorf("asked about %v of %v, sent as %v of %v, with %v", q.Kind, q.Resource, q.RequestKind, q.RequestResource, object)
	}
}

// TestWebhookOnConnect refuses to let somebody attach to a pod.
func TestWebhookOnConnect(t *testing.T) {
	t.Parallel()
	client := adminClient(t, start(t))
	inNamespace(t, client, "shop")
	hook := answering(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return deny("attaching is not allowed")
	})
	hook.validating(t, client, "streams", func(w *registrationv1.ValidatingWebhook) {
		w.Rules = []registrationv1.RuleWithOperations{{Operations: []registrationv1.OperationType{"CONNECT"}, Rule: registrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods/attach", "pods/exec"}}}}
	})
	_, err := client.CoreV1().Pods("shop").Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}, metav1.CreateOptions{})
	check(t, err)
	err = client.CoreV1().RESTClient().Post().Namespace("shop").Resource("pods").Name("p").SubResource("exec").
		Param("command", "ls").Param("command", "-l").Param("stdout", "true").Param("container", "c").Do(t.Context()).Error()
	if err == nil || !strings.Contains(err.Error(), `admission webhook "streams.example.com" denied the request: attaching is not allowed`) {
		t.Errorf("exec: %v", err)
	}
	q := hook.questions()[0]
	var options corev1.PodExecOptions
	check(t, json.Unmarshal(q.Object.Raw, &options))
	if q.Operation != admissionv1.Connect || q.Kind.Kind != "PodExecOptions" || q.SubResource != "exec" || q.Name != "p" || q.Namespace != "shop" ||
		!options.Stdout || options.Stdin || strings.Join(options.Command, " ") != "ls -l" || options.Container != "c" {
		t.Errorf("asked %+v about %+v", q, options)
	}
}

// TestWebhookBehindService reaches a webhook by its service's ready endpoint,
// under the service's name.
func TestWebhookBehindService(t *testing.T) {
	t.Parallel()
	address := ownAddress(t)
	server := start(t)
	client := adminClient(t, server)
	inNamespace(t, client, "guard")
	hook := answering(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse { return deny("by service") })
	listening := hook.Listener.Addr().(*net.TCPAddr).Port
	forward(t, address, listening)
	_, err := client.CoreV1().Services("guard").Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "hook"},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "https", Port: 8443}}}}, metav1.CreateOptions{})
	check(t, err)
	hook.validating(t, client, "names", func(w *registrationv1.ValidatingWebhook) {
		w.ClientConfig.URL = nil
		w.ClientConfig.Service = &registrationv1.ServiceReference{Namespace: "guard", Name: "hook", Port: ptr.To[int32](8443), Path: ptr.To("/check")}
	})
	_, err = makeConfigMap(t, client, "default", "a", metav1.CreateOptions{})
	if want := `Post "https://hook.guard.svc:8443/check": no endpoints available for service "hook"`; !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), want) {
		t.Errorf("without endpoints: %v", err)
	}
	_, err = client.DiscoveryV1().EndpointSlices("guard").Create(t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "hook", Labels: map[string]string{discoveryv1.LabelServiceName: "hook"}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: ptr.To("https"), Port: ptr.To(int32(listening))}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.1"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(false)}}, {Addresses: []string{address.String()}}},
	}, metav1.CreateOptions{})
	check(t, err)
	_, err = makeConfigMap(t, client, "default", "a", metav1.CreateOptions{})
	if want := `admission webhook "names.example.com" denied the request: by service`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// ownAddress is an address of this machine that others could reach.
func ownAddress(t *testing.T) netip.Addr {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	check(t, err)
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
			return p.Addr()
		}
	}
	t.Skip("this machine has no address but loopback")
	return netip.Addr{}
}

// forward lets the port of a server on loopback be reached on another address.
func forward(t *testing.T, address netip.Addr, port int) {
	t.Helper()
	listener, err := net.Listen("tcp", netip.AddrPortFrom(address, uint16(port)).String())
	check(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
			if err != nil {
				_ = from.Close()
				continue
			}
			go func() { _, _ = to.(*net.TCPConn).ReadFrom(from); _ = to.Close() }()
			go func() { _, _ = from.(*net.TCPConn).ReadFrom(to); _ = from.Close() }()
		}
	}()
}
