package apiserver_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	wanted := []string{
		`apiserver_current_inflight_requests{request_kind="readOnly"} 1`,
		`apiserver_current_inflight_requests{request_kind="mutating"} 0`,
		`apiserver_longrunning_requests{group="",resource="namespaces",scope="cluster",subresource="",verb="watch",version="v1"} 1`,
		`apiserver_watch_events_total{group="",resource="namespaces",version="v1"} 4`,
		`apiserver_watch_events_sizes_count{group="",resource="namespaces",version="v1"} 4`,
		`etcd_request_duration_seconds_count{group="",operation="txn",resource=""}`,
		`kubernetes_build_info{build_date="",compiler="gc",`,
		`process_resident_memory_bytes`,
		`go_goroutines`,
		`apiserver_request_total{code="200",group="",resource="namespaces",scope="cluster",subresource="",verb="list",version="v1"} 1`,
		`apiserver_request_total{code="403",`,
		`apiserver_request_duration_seconds_count{group="",resource="namespaces",scope="cluster",subresource="",verb="list",version="v1"} 1`,
		`apiserver_storage_objects{resource="namespaces"} 4`,
		`apiserver_resource_objects{group="flowcontrol.apiserver.k8s.io",resource="flowschemas"}`,
		`apiserver_flowcontrol_nominal_limit_seats{priority_level="workload-low"} 245`,
		`apiserver_flowcontrol_dispatched_requests_total{flow_schema="exempt",priority_level="exempt"}`,
		`apiserver_audit_error_total{plugin="log"} 0`,
	}
	eventually(t, "the metrics", func(ctx context.Context) (bool, error) {
		var code int
		text, err := root.CoreV1().RESTClient().Get().AbsPath("/metrics").Do(ctx).StatusCode(&code).Raw()
		if err != nil || code != http.StatusOK || strings.Contains(string(text), "nonsense") {
			t.Fatalf("/metrics: %d, %v\n%s", code, err, text)
		}
		for _, line := range wanted {
			if !strings.Contains(string(text), line) {
				t.Logf("missing: %s", line)
				return false, nil
			}
		}
		return true, nil
	})
}
