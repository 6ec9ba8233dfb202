package apiserver_test

import (
	"crypto/tls"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	applyautoscalingv1 "k8s.io/client-go/applyconfigurations/autoscaling/v1"
	"k8s.io/client-go/kubernetes"
	clientrest "k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/apiserver"
)

// clientConfig is how a person with a client certificate reaches the server.
func clientConfig(t *testing.T, server *apiserver.Server, name string, groups ...string) *clientrest.Config {
	t.Helper()
	cert, key, err := server.Authorities().UserCertificate(name, groups, 0)
	check(t, err)
	pair, err := tls.X509KeyPair(cert, key)
	check(t, err)
	config := server.Authorities().ClientTLS()
	config.Certificates = []tls.Certificate{pair}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &clientrest.Config{Host: "https://" + server.Address().String(), Transport: transport, QPS: -1, UserAgent: name + "/1"}
}

func typedClient(t *testing.T, server *apiserver.Server, name string, groups ...string) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(clientConfig(t, server, name, groups...))
	check(t, err)
	return client
}

// TestEventsInBothGroups: an event that is written in one group is the other
// group's too, and each group's rules and rights hold for who comes through it.
func TestEventsInBothGroups(t *testing.T) {
	t.Parallel()
	server := start(t)
	ctx, client := t.Context(), typedClient(t, server, "ada", "system:masters")
	newer, core := client.EventsV1().Events("default"), client.CoreV1().Events("default")

	_, err := newer.Create(ctx, &eventsv1.Event{ObjectMeta: metav1.ObjectMeta{Name: "poor"}, Type: "Normal"}, metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) {
		t.Errorf("an event without its time and reporter: %v", err)
	}
	watching, err := newer.Watch(ctx, metav1.ListOptions{})
	check(t, err)
	defer watching.Stop()
	at := metav1.NewMicroTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	created, err := newer.Create(ctx, &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "e"}, EventTime: at, ReportingController: "test.io/c", ReportingInstance: "c-1", Action: "Do", Reason: "Because",
		Regarding: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "p"}, Note: "hello", Type: "Normal",
	}, metav1.CreateOptions{})
	check(t, err)
	if seen := (<-watching.ResultChan()).Object.(*eventsv1.Event); seen.Note != "hello" || seen.UID != created.UID {
		t.Errorf("watched %+v", seen)
	}
	old, err := core.Get(ctx, "e", metav1.GetOptions{})
	check(t, err)
	if old.Message != "hello" || old.InvolvedObject.Name != "p" || old.UID != created.UID || old.ResourceVersion != created.ResourceVersion {
		t.Errorf("the core group has %+v", old)
	}
	patched, err := newer.Patch(ctx, "e", types.MergePatchType, []byte(`{"series":{"count":2,"lastObservedTime":"2026-01-02T03:04:06.000000Z"}}`), metav1.PatchOptions{})
	check(t, err)
	if patched.Series == nil || patched.Series.Count != 2 {
		t.Errorf("patched to %+v", patched.Series)
	}
	if _, err := newer.Patch(ctx, "e", types.MergePatchType, []byte(`{"note":"other"}`), metav1.PatchOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("the note was changed: %v", err)
	}
	for selector, want := range map[string]int{"reportingController=test.io/c": 1, "regarding.name=p": 1, "reason=Other": 0} {
		list, err := newer.List(ctx, metav1.ListOptions{FieldSelector: selector})
		check(t, err)
		if len(list.Items) != want {
			t.Errorf("%s selects %d, want %d", selector, len(list.Items), want)
		}
	}
	if _, err := newer.List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=p"}); !apierrors.IsBadRequest(err) {
		t.Errorf("a field of the core group: %v", err)
	}

	bindCustomRole(t, client, "eve", rbacv1.PolicyRule{APIGroups: []string{"events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"get", "deletecollection"}})
	eve := typedClient(t, server, "eve")
	if _, err := eve.EventsV1().Events("default").Get(ctx, "e", metav1.GetOptions{}); err != nil {
		t.Errorf("her group: %v", err)
	}
	if _, err := eve.CoreV1().Events("default").Get(ctx, "e", metav1.GetOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("the other group: %v", err)
	}
	check(t, eve.EventsV1().Events("default").DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}))
	if _, err := core.Get(ctx, "e", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after the deletion: %v", err)
	}
}

func bindCustomRole(t *testing.T, client kubernetes.Interface, user string, rules ...rbacv1.PolicyRule) {
	t.Helper()
	_, err := client.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: rules}, metav1.CreateOptions{})
	check(t, err)
	_, err = client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
	}, metav1.CreateOptions{})
	check(t, err)
}

// TestAutoscalerInBothVersions writes in one version and reads in the other,
// and lets two managers apply in a version each.
func TestAutoscalerInBothVersions(t *testing.T) {
	t.Parallel()
	server := start(t)
	ctx, client := t.Context(), typedClient(t, server, "ada", "system:masters")
	v1, v2 := client.AutoscalingV1().HorizontalPodAutoscalers("default"), client.AutoscalingV2().HorizontalPodAutoscalers("default")

	config := applyautoscalingv1.HorizontalPodAutoscaler("web", "default").WithSpec(applyautoscalingv1.HorizontalPodAutoscalerSpec().
		WithScaleTargetRef(applyautoscalingv1.CrossVersionObjectReference().WithAPIVersion("apps/v1").WithKind("Deployment").WithName("web")).
		WithMaxReplicas(5).WithTargetCPUUtilizationPercentage(70))
	applied, err := v1.Apply(ctx, config, metav1.ApplyOptions{FieldManager: "older"})
	check(t, err)
	if got := applied.Spec; ptr.Deref(got.TargetCPUUtilizationPercentage, 0) != 70 || ptr.Deref(got.MinReplicas, 0) != 1 {
		t.Errorf("applied %+v", got)
	}
	if m := applied.ManagedFields; len(m) != 1 || m[0].APIVersion != "autoscaling/v1" || m[0].Operation != "Apply" {
		t.Errorf("managed fields %+v", m)
	}
	newer, err := v2.Get(ctx, "web", metav1.GetOptions{})
	check(t, err)
	cpu := autoscalingv2.MetricSpec{Type: "Resource", Resource: &autoscalingv2.ResourceMetricSource{Name: "cpu",
		Target: autoscalingv2.MetricTarget{Type: "Utilization", AverageUtilization: ptr.To[int32](70)}}}
	if diff := cmp.Diff([]autoscalingv2.MetricSpec{cpu}, newer.Spec.Metrics); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}

	newer.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleDown: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: ptr.To[int32](60)}}
	newer.Spec.MaxReplicas = 9
	_, err = v2.Update(ctx, newer, metav1.UpdateOptions{FieldManager: "newer"})
	check(t, err)
	_, err = v1.Apply(ctx, config, metav1.ApplyOptions{FieldManager: "older"})
	if !apierrors.IsConflict(err) {
		t.Errorf("a field that was taken in the other version: %v", err)
	}
	patched, err := v1.Patch(ctx, "web", types.StrategicMergePatchType, []byte(`{"spec":{"minReplicas":2}}`), metav1.PatchOptions{})
	check(t, err)
	if patched.Annotations["autoscaling.alpha.kubernetes.io/behavior"] == "" {
		t.Errorf("no behavior among the annotations %v", patched.Annotations)
	}
	newer, err = v2.Get(ctx, "web", metav1.GetOptions{})
	check(t, err)
	if got := newer.Spec; got.Behavior == nil || *got.Behavior.ScaleDown.StabilizationWindowSeconds != 60 || *got.MinReplicas != 2 || len(newer.Annotations) > 0 {
		t.Errorf("after a patch in the older version: %+v %v", got, newer.Annotations)
	}
	list, err := v1.List(ctx, metav1.ListOptions{})
	check(t, err)
	if len(list.Items) != 1 || list.Items[0].Spec.MaxReplicas != 9 {
		t.Errorf("listed %+v", list.Items)
	}
	var inProcess autoscalingv1.HorizontalPodAutoscaler
	check(t, server.Peer(admin).Client().Get(ctx, types.NamespacedName{Namespace: "default", Name: "web"}, &inProcess))
	if diff := cmp.Diff(patched.Spec, inProcess.Spec); diff != "" {
		t.Errorf("in process (-want +got):\n%s", diff)
	}
}
