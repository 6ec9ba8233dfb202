package apiserver_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"
)

func TestMetricsHaveKubernetesNames(t *testing.T) {
	server := start(t)
	root, err := kubernetes.NewForConfig(asPerson(t, server, "root", "system:masters"))
	check(t, err)
	jane, err := kubernetes.NewForConfig(asPerson(t, server, "jane"))
	check(t, err)
	if _, err := jane.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context()); !apierrors.IsForbidden(err) {
		t.Errorf("jane reads /metrics: %v", err)
	}
	_, err = root.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
	check(t, err)
	err = root.CoreV1().RESTClient().Get().AbsPath("/api/v1/nonsense-of-a-client").Do(t.Context()).Error()
	if !apierrors.IsNotFound(err) {
		t.Errorf("nonsense: %v", err)
	}
	w, err := root.CoreV1().Namespaces().Watch(t.Context(), metav1.ListOptions{})
	check(t, err)
	defer w.Stop()
	streaming, err := root.CoreV1().Namespaces().Watch(t.Context(), metav1.ListOptions{SendInitialEvents: new(true), ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, AllowWatchBookmarks: true})
	check(t, err)
	defer streaming.Stop()
	judged(t, root)
	for _, path := range []string{"/livez", "/readyz"} {
		check(t, root.CoreV1().RESTClient().Get().AbsPath(path).Do(t.Context()).Error())
	}
	wanted := []string{
		`apiserver_current_inflight_requests{request_kind="readOnly"} 1`,
		`apiserver_current_inflight_requests{request_kind="mutating"} 0`,
		`apiserver_longrunning_requests{component="apiserver",group="",resource="namespaces",scope="cluster",subresource="",verb="WATCH",version="v1"} 2`,
		`apiserver_watch_events_total{group="",resource="namespaces",version="v1"} 8`,
		`apiserver_watch_events_sizes_count{group="",resource="namespaces",version="v1"} 8`,
		`apiserver_watch_list_duration_seconds_count{group="",resource="namespaces",scope="cluster",version="v1"} 1`,
		`etcd_request_duration_seconds_count{group="",operation="list",resource=""}`,
		`etcd_requests_total{group="",operation="create",resource="configmaps"}`, // more than one when a try has lost
		`apiserver_storage_size_bytes{storage_cluster_id="etcd-0"}`,
		`apiserver_storage_events_received_total{group="",resource="configmaps"} 2`,
		`kubernetes_healthcheck{name="etcd",type="readyz"} 1`,
		`kubernetes_healthchecks_total{name="ping",status="success",type="livez"} 1`,
		`kubernetes_build_info{build_date="",compiler="gc",`,
		`process_resident_memory_bytes`,
		`go_goroutines`,
		`apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="namespaces",scope="cluster",subresource="",verb="LIST",version="v1"} 1`,
		`apiserver_request_total{code="201",component="apiserver",dry_run="All",group="",resource="configmaps",scope="namespace",subresource="",verb="POST",version="v1"} 1`,
		`apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="configmaps",scope="resource",subresource="",verb="APPLY",version="v1"} 1`,
		`apiserver_request_total{code="403",`,
		`apiserver_request_duration_seconds_count{component="apiserver",dry_run="",group="",resource="namespaces",scope="cluster",subresource="",verb="LIST",version="v1"} 1`,
		`apiserver_request_sli_duration_seconds_count{component="apiserver",group="",resource="namespaces",scope="cluster",subresource="",verb="LIST",version="v1"} 1`,
		`apiserver_response_sizes_count{component="apiserver",group="",resource="namespaces",scope="cluster",subresource="",verb="LIST",version="v1"} 1`,
		`apiserver_storage_objects{resource="namespaces"} 4`,
		`apiserver_resource_objects{group="flowcontrol.apiserver.k8s.io",resource="flowschemas"}`,
		`apiserver_flowcontrol_nominal_limit_seats{priority_level="workload-low"} 245`,
		`apiserver_flowcontrol_dispatched_requests_total{flow_schema="exempt",priority_level="exempt"}`,
		`apiserver_audit_error_total{plugin="log"} 0`,
		`apiserver_admission_step_admission_duration_seconds_count{operation="CREATE",rejected="true",type="validate"}`,
		`apiserver_admission_controller_admission_duration_seconds_count{name="NamespaceLifecycle",operation="CREATE",rejected="false",type="admit"}`,
		`apiserver_admission_controller_admission_duration_seconds_count{name="ValidatingAdmissionPolicy",operation="CREATE",rejected="true",type="validate"} 1`,
		`apiserver_admission_webhook_admission_duration_seconds_count{name="judge.example.com",operation="CREATE",rejected="false",type="admit"}`,
		`apiserver_admission_webhook_request_total{code="200",name="judge.example.com",operation="CREATE",rejected="false",type="admit"}`,
		`apiserver_admission_webhook_request_total{code="403",name="judge.example.com",operation="CREATE",rejected="true",type="admit"} 1`,
		`apiserver_admission_webhook_rejection_count{error_type="no_error",name="judge.example.com",operation="CREATE",rejection_code="403",type="admit"} 1`,
		`apiserver_admission_webhook_rejection_count{error_type="calling_webhook_error",name="closed.example.com",operation="CREATE",rejection_code="0",type="validating"} 1`,
		`apiserver_admission_webhook_fail_open_count{name="open.example.com",type="validating"}`,
		`apiserver_validating_admission_policy_check_total{enforcement_action="allow",error_type="no_error",policy="names",policy_binding="names"}`,
		`apiserver_validating_admission_policy_check_total{enforcement_action="deny",error_type="no_error",policy="names",policy_binding="names"} 1`,
		`apiserver_validating_admission_policy_check_duration_seconds_count{enforcement_action="deny",error_type="no_error",policy="names",policy_binding="names"} 1`,
		`apiserver_mutating_admission_policy_check_total{error_type="no_error",policy="marks",policy_binding="marks"}`,
		`apiserver_cel_compilation_duration_seconds_count`,
		`apiserver_cel_evaluation_duration_seconds_count`,
	}
	var missing []string
	defer func() {
		for _, line := range missing {
			t.Logf("missing: %s", line)
		}
	}()
	eventually(t, "the metrics", func(ctx context.Context) (bool, error) {
		var code int
		text, err := root.CoreV1().RESTClient().Get().AbsPath("/metrics").Do(ctx).StatusCode(&code).Raw()
		if err != nil || code != http.StatusOK || strings.Contains(string(text), "nonsense") {
			if ctx.Err() != nil {
				return false, ctx.Err()
			}
			t.Fatalf("/metrics: %d, %v\n%s", code, err, text)
		}
		missing = slices.DeleteFunc(slices.Clone(wanted), func(line string) bool { return strings.Contains(string(text), line) })
		return len(missing) == 0, nil
	})
}

// judged makes requests that webhooks and a policy let pass and refuse.
func judged(t *testing.T, client *kubernetes.Clientset) {
	t.Helper()
	policyOf(t, client, "names", "validations: [{expression: \"object.metadata.name != 'forbidden'\"}]")
	bindingOf(t, client, "names", "names", "validationActions: [Deny]")
	mutatingPolicyOf(t, client, "marks", "mutations: [{patchType: JSONPatch, jsonPatch: {expression: \"[JSONPatch{op: 'add', path: '/data/a', value: 'b'}]\"}}]", "")
	hook := answering(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		if r.Name == "refused" {
			return &admissionv1.AdmissionResponse{Result: &metav1.Status{Code: http.StatusForbidden}}
		}
		return nil
	})
	hook.mutating(t, client, "judge")
	away := &hookServer{Server: httptest.NewUnstartedServer(nil)}
	away.URL = "https://127.0.0.1:1"
	away.validating(t, client, "open", func(w *registrationv1.ValidatingWebhook) { w.FailurePolicy = new(registrationv1.Ignore) })
	away.validating(t, client, "closed", func(w *registrationv1.ValidatingWebhook) {
		w.FailurePolicy, w.ObjectSelector = new(registrationv1.Fail), &metav1.LabelSelector{MatchLabels: map[string]string{"name": "unasked"}}
	})
	for name, want := range map[string]bool{"passed": true, "forbidden": false, "refused": false, "unasked": false} {
		if _, err := makeConfigMap(t, client, "default", name, metav1.CreateOptions{}); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := makeConfigMap(t, client, "default", "dry", metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	check(t, err)
	_, err = client.CoreV1().ConfigMaps("default").Apply(t.Context(), applycorev1.ConfigMap("passed", "default").WithLabels(map[string]string{"a": "b"}), metav1.ApplyOptions{FieldManager: "me"})
	check(t, err)
}
