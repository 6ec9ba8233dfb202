package replicaset_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/replicaset"
)

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func pod(name string, change ...func(p *corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), Labels: map[string]string{"app": "web"}, CreationTimestamp: metav1.NewTime(start)},
		Spec:       corev1.PodSpec{NodeName: "n1"},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(start)}}},
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func TestVictimsOrder(t *testing.T) {
	t.Parallel()
	pods := []*corev1.Pod{
		pod("good"),
		pod("costly", func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: "10"} }),
		pod("cheap", func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: "-1"} }),
		pod("unready", func(p *corev1.Pod) { p.Status.Conditions = nil }),
		pod("pending", func(p *corev1.Pod) { p.Status.Phase, p.Status.Conditions = corev1.PodPending, nil }),
		pod("unbound", func(p *corev1.Pod) { p.Spec.NodeName, p.Status.Phase, p.Status.Conditions = "", corev1.PodPending, nil }),
		pod("crowded", func(p *corev1.Pod) { p.Spec.NodeName = "n2" }),
		pod("restarted", func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 3}} }),
		pod("newer", func(p *corev1.Pod) {
			p.Status.Conditions[0].LastTransitionTime = metav1.NewTime(start.Add(50 * time.Minute))
		}),
		pod("last", func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: "11"} }),
	}
	var got []string
	for _, p := range replicaset.Victims(pods, len(pods)-1, map[string]int{"n1": 1, "n2": 5}, start.Add(time.Hour)) {
		got = append(got, p.Name)
	}
	want := []string{"unbound", "pending", "unready", "cheap", "crowded", "newer", "restarted", "good", "costly"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func set(replicas int32) *appsv1.ReplicaSet {
	labels := map[string]string{"app": "web"}
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "rs"},
		Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To(replicas), MinReadySeconds: 10, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}}},
	}
}

func TestAdoptReleaseAndMinReady(t *testing.T) {
	t.Parallel()
	clk := clocktesting.NewFakeClock(start.Add(4 * time.Second))
	stray := pod("stray", func(p *corev1.Pod) {
		p.Labels = map[string]string{"app": "debug"}
		p.OwnerReferences = []metav1.OwnerReference{{UID: "rs", Kind: "ReplicaSet", APIVersion: "apps/v1", Name: "web", Controller: ptr.To(true)}}
	})
	api := fakecluster.New(clk, set(2), pod("orphan"), stray, pod("foreign", func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{UID: "other", Kind: "ReplicaSet", APIVersion: "apps/v1", Name: "other", Controller: ptr.To(true)}}
	}))
	r := &replicaset.Reconciler{Deps: controller.Deps{Client: api, Clock: clk, Logger: slog.New(slog.DiscardHandler), Events: &record.FakeRecorder{}}, Kind: replicaset.Sets}
	result, err := r.Reconcile(t.Context(), controller.Named("shop", "web"))
	if err != nil {
		t.Fatal(err)
	}
	if result.RequeueAfter != 6*time.Second {
		t.Errorf("next look after %s, want 6s: the orphan has been ready for 4 of 10 seconds", result.RequeueAfter)
	}
	owners := map[string]types.UID{}
	var pods corev1.PodList
	if err := api.List(t.Context(), &pods); err != nil {
		t.Fatal(err)
	}
	made := 0
	for _, p := range pods.Items {
		owner := metav1.GetControllerOf(&p)
		if p.GenerateName != "" {
			made++
			continue
		}
		if owners[p.Name] = ""; owner != nil {
			owners[p.Name] = owner.UID
		}
	}
	if diff := cmp.Diff(map[string]types.UID{"orphan": "rs", "stray": "", "foreign": "other"}, owners); diff != "" {
		t.Errorf("owners (-want +got):\n%s", diff)
	}
	if made != 1 {
		t.Errorf("%d pods made, want 1 beside the adopted one", made)
	}
	rs := &appsv1.ReplicaSet{}
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "web"}, rs); err != nil {
		t.Fatal(err)
	}
	want := appsv1.ReplicaSetStatus{Replicas: 2, FullyLabeledReplicas: 2, ReadyReplicas: 1, TerminatingReplicas: ptr.To[int32](0), ObservedGeneration: 1}
	if diff := cmp.Diff(want, rs.Status); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

func TestReplicationController(t *testing.T) {
	t.Parallel()
	clk := clocktesting.NewFakeClock(start.Add(time.Minute))
	labels := map[string]string{"app": "web"}
	rc := &corev1.ReplicationController{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "rc"},
		Spec: corev1.ReplicationControllerSpec{Replicas: ptr.To[int32](2), Selector: labels,
			Template: &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}}},
	}
	owned := func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{UID: "rc", Kind: "ReplicationController", APIVersion: "v1", Name: "web", Controller: ptr.To(true)}}
	}
	stray := pod("stray", owned, func(p *corev1.Pod) { p.Labels = map[string]string{"app": "debug"} })
	api := fakecluster.New(clk, rc, pod("orphan"), stray, pod("ofset", func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{UID: "rs", Kind: "ReplicaSet", APIVersion: "apps/v1", Name: "web", Controller: ptr.To(true)}}
	}))
	seen := &record.FakeRecorder{Events: make(chan string, 10)}
	r := &replicaset.Reconciler{Deps: controller.Deps{Client: api, Clock: clk, Logger: slog.New(slog.DiscardHandler), Events: seen}, Kind: replicaset.Controllers}
	pass := func() {
		t.Helper()
		if _, err := r.Reconcile(t.Context(), controller.Named("shop", "web")); err != nil {
			t.Fatal(err)
		}
	}
	pass()
	got := map[string]string{}
	var pods corev1.PodList
	if err := api.List(t.Context(), &pods); err != nil {
		t.Fatal(err)
	}
	for _, p := range pods.Items {
		name := p.Name
		if p.GenerateName != "" {
			name = "made from " + p.GenerateName
		}
		if got[name] = ""; metav1.GetControllerOf(&p) != nil {
			got[name] = metav1.GetControllerOf(&p).APIVersion + " " + metav1.GetControllerOf(&p).Kind
		}
	}
	want := map[string]string{"orphan": "v1 ReplicationController", "stray": "", "ofset": "apps/v1 ReplicaSet", "made from web-": "v1 ReplicationController"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("owners (-want +got):\n%s", diff)
	}
	if event := <-seen.Events; !strings.HasPrefix(event, "Normal SuccessfulCreate Created pod: web-") {
		t.Errorf("event %q", event)
	}
	status := func() corev1.ReplicationControllerStatus {
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(rc), rc); err != nil {
			t.Fatal(err)
		}
		return rc.Status
	}
	if diff := cmp.Diff(corev1.ReplicationControllerStatus{Replicas: 2, FullyLabeledReplicas: 2, ReadyReplicas: 1, AvailableReplicas: 1, ObservedGeneration: 1}, status()); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	rc.Spec.Replicas = ptr.To[int32](0)
	if err := api.Update(t.Context(), rc); err != nil {
		t.Fatal(err)
	}
	pass()
	if got := status(); got.Replicas != 0 || got.ObservedGeneration != rc.Generation {
		t.Errorf("status after scaling to nothing: %+v", got)
	}
}

func TestReplicationControllerReportsFailure(t *testing.T) {
	t.Parallel()
	clk := clocktesting.NewFakeClock(start)
	labels := map[string]string{"app": "web"}
	rc := &corev1.ReplicationController{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "rc"},
		Spec: corev1.ReplicationControllerSpec{Replicas: ptr.To[int32](1), Selector: labels,
			Template: &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}}},
	}
	api := fakecluster.New(clk, rc)
	refusing := interceptor.NewClient(api, interceptor.Funcs{Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
		return errors.New("exceeded quota: few")
	}})
	r := &replicaset.Reconciler{Deps: controller.Deps{Client: refusing, Clock: clk, Logger: slog.New(slog.DiscardHandler), Events: &record.FakeRecorder{}}, Kind: replicaset.Controllers}
	if _, err := r.Reconcile(t.Context(), controller.Named("shop", "web")); err == nil {
		t.Fatal("a pass that could not create its pod was no error")
	}
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(rc), rc); err != nil {
		t.Fatal(err)
	}
	want := []corev1.ReplicationControllerCondition{{Type: corev1.ReplicationControllerReplicaFailure, Status: corev1.ConditionTrue,
		LastTransitionTime: metav1.NewTime(start), Reason: "FailedCreate", Message: "create pod: exceeded quota: few"}}
	if diff := cmp.Diff(want, rc.Status.Conditions); diff != "" {
		t.Errorf("conditions (-want +got):\n%s", diff)
	}
}

// TestARefusalIsToldOnce: each try is refused in other words, as they name the
// pod; writing them all would be a change that asks for the next try at once.
func TestARefusalIsToldOnce(t *testing.T) {
	t.Parallel()
	clk := clocktesting.NewFakeClock(start)
	api := fakecluster.New(clk, set(1))
	tries := 0
	api.BeforeCreate = func(client.Object) error {
		tries++
		return fmt.Errorf("pod web-%d is refused", tries)
	}
	r := &replicaset.Reconciler{Deps: controller.Deps{Client: api, Clock: clk, Logger: slog.New(slog.DiscardHandler), Events: &record.FakeRecorder{}}, Kind: replicaset.Sets}
	versions := map[string]bool{}
	for range 3 {
		if _, err := r.Reconcile(t.Context(), controller.Named("shop", "web")); err == nil {
			t.Fatal("a pass that could not create its pod was no error")
		}
		rs := &appsv1.ReplicaSet{}
		if err := api.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "web"}, rs); err != nil {
			t.Fatal(err)
		}
		versions[rs.ResourceVersion] = true
		clk.Step(time.Minute)
	}
	if len(versions) != 1 {
		t.Errorf("%d versions after three tries, want 1", len(versions))
	}
}
