package deployment_test

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/deployment"
	"github.com/headway-sh/headway/reconciler/podstate"
	"github.com/headway-sh/headway/reconciler/replicaset"
)

// story plays both controllers and a node, one pass after the other.
type story struct {
	*testing.T
	api   *fakecluster.Cluster
	clock *clocktesting.FakeClock
	roll  *deployment.Reconciler
	keep  *replicaset.Reconciler
	// ceiling and floor are the promises that every pass must keep; 0: none.
	ceiling, floor int
}

func newStory(t *testing.T, d *appsv1.Deployment) *story {
	clk := clocktesting.NewFakeClock(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	api := fakecluster.New(clk, d)
	deps := controller.Deps{Client: api, Clock: clk, Logger: slog.New(slog.DiscardHandler), Events: &record.FakeRecorder{}}
	return &story{T: t, api: api, clock: clk, roll: &deployment.Reconciler{Deps: deps}, keep: &replicaset.Reconciler{Deps: deps, Kind: replicaset.Sets}}
}

func web(replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(replicas), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "web:1"}}},
			},
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{
				MaxSurge: ptr.To(intstr.FromString("25%")), MaxUnavailable: ptr.To(intstr.FromString("25%")),
			}},
			ProgressDeadlineSeconds: ptr.To[int32](600), RevisionHistoryLimit: ptr.To[int32](2),
		},
	}
}

// settle runs passes until nothing changes any more.
func (s *story) settle() {
	s.Helper()
	for range 200 {
		before := s.dump()
		s.pass()
		if s.dump() == before {
			return
		}
	}
	s.Fatal("never settles:\n" + s.dump())
}

func (s *story) pass() {
	s.Helper()
	if _, err := s.roll.Reconcile(s.Context(), controller.Named("shop", "web")); err != nil {
		s.Fatalf("deployment: %v", err)
	}
	for _, rs := range s.sets() {
		if _, err := s.keep.Reconcile(s.Context(), controller.Request(&rs)); err != nil {
			s.Logf("replica set: %v", err)
		}
	}
	s.check()
}

func (s *story) check() {
	s.Helper()
	active, ready := 0, 0
	for _, p := range s.pods() {
		if podstate.IsActive(&p) {
			active++
		}
		if podstate.IsReady(&p) {
			ready++
		}
	}
	if s.ceiling > 0 && active > s.ceiling {
		s.Fatalf("%d pods, more than %d", active, s.ceiling)
	}
	if ready < s.floor {
		s.Fatalf("%d ready pods, fewer than %d", ready, s.floor)
	}
}

// ready makes all pods ready except those of an image that cannot run.
func (s *story) ready(except string) {
	for _, p := range s.pods() {
		if podstate.IsReady(&p) || p.Spec.Containers[0].Image == except {
			continue
		}
		p.Status.Phase = corev1.PodRunning
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(s.clock.Now())}}
		if err := s.api.Status().Update(s.Context(), &p); err != nil {
			s.Fatal(err)
		}
	}
}

// finish lets the node and the controllers work until both are done.
func (s *story) finish(except string) {
	s.Helper()
	for range 50 {
		s.settle()
		before := s.dump()
		s.ready(except)
		if s.dump() == before {
			return
		}
	}
	s.Fatal("never finishes")
}

func (s *story) pods() []corev1.Pod {
	var l corev1.PodList
	if err := s.api.List(s.Context(), &l); err != nil {
		s.Fatal(err)
	}
	return l.Items
}

func (s *story) sets() []appsv1.ReplicaSet {
	var l appsv1.ReplicaSetList
	if err := s.api.List(s.Context(), &l); err != nil {
		s.Fatal(err)
	}
	return l.Items
}

func (s *story) get() *appsv1.Deployment {
	d := &appsv1.Deployment{}
	if err := s.api.Get(s.Context(), client.ObjectKey{Namespace: "shop", Name: "web"}, d); err != nil {
		s.Fatal(err)
	}
	return d
}

func (s *story) edit(f func(d *appsv1.Deployment)) {
	d := s.get()
	f(d)
	if err := s.api.Update(s.Context(), d); err != nil {
		s.Fatal(err)
	}
}

func (s *story) dump() string {
	text := "deployment " + s.get().ResourceVersion
	for _, rs := range s.sets() {
		text += fmt.Sprintf("\n%s %s %d", rs.Name, rs.ResourceVersion, *rs.Spec.Replicas)
	}
	for _, p := range s.pods() {
		text += "\n" + p.Name + " " + p.ResourceVersion
	}
	return text
}

// images counts the pods by image.
func (s *story) images() map[string]int {
	count := map[string]int{}
	for _, p := range s.pods() {
		count[p.Spec.Containers[0].Image]++
	}
	return count
}

func (s *story) condition(kind appsv1.DeploymentConditionType) string {
	for _, c := range s.get().Status.Conditions {
		if c.Type == kind {
			return string(c.Status) + " " + c.Reason
		}
	}
	return ""
}

func (s *story) want(what string, want, got any) {
	s.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		s.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

func image(name string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = name }
}

func TestRollForwardAndBack(t *testing.T) {
	t.Parallel()
	s := newStory(t, web(4))
	s.finish("")
	d := s.get()
	s.want("status", appsv1.DeploymentStatus{
		ObservedGeneration: 1, Replicas: 4, UpdatedReplicas: 4, ReadyReplicas: 4, AvailableReplicas: 4, TerminatingReplicas: ptr.To[int32](0), Conditions: d.Status.Conditions,
	}, d.Status)
	s.want("progressing", "True NewReplicaSetAvailable", s.condition(appsv1.DeploymentProgressing))
	s.want("available", "True MinimumReplicasAvailable", s.condition(appsv1.DeploymentAvailable))

	s.ceiling, s.floor = 5, 3
	s.edit(image("web:2"))
	s.pass()
	s.want("progressing", "True NewReplicaSetCreated", s.condition(appsv1.DeploymentProgressing))
	s.finish("")
	s.want("images", map[string]int{"web:2": 4}, s.images())
	s.want("revision", "2", s.get().Annotations["deployment.kubernetes.io/revision"])

	s.edit(image("web:1")) // what kubectl rollout undo does
	s.finish("")
	s.want("images", map[string]int{"web:1": 4}, s.images())
	s.want("revision", "3", s.get().Annotations["deployment.kubernetes.io/revision"])
	s.want("sets", 2, len(s.sets()))

	for _, name := range []string{"web:3", "web:4", "web:5"} {
		s.clock.Step(time.Minute)
		s.edit(image(name))
		s.finish("")
	}
	s.want("sets kept", 3, len(s.sets()))
	s.edit(func(d *appsv1.Deployment) {
		d.Spec.RevisionHistoryLimit = ptr.To[int32](0)
		image("broken")(d)
	})
	s.finish("broken")
	s.want("sets kept until the rollout is through", 4, len(s.sets()))
	s.edit(image("web:5"))
	s.finish("")
	s.want("sets of no history", 1, len(s.sets()))
}

func TestStuckRolloutTimesOutAndKeepsServing(t *testing.T) {
	t.Parallel()
	s := newStory(t, web(4))
	s.finish("")
	s.ceiling, s.floor = 5, 3
	s.edit(image("broken"))
	s.finish("broken")
	s.want("images", map[string]int{"web:1": 3, "broken": 2}, s.images())
	s.clock.Step(599 * time.Second)
	s.settle()
	s.want("before the deadline", "True ReplicaSetUpdated", s.condition(appsv1.DeploymentProgressing))
	s.clock.Step(2 * time.Second)
	s.settle()
	s.want("after the deadline", "False ProgressDeadlineExceeded", s.condition(appsv1.DeploymentProgressing))
	s.edit(image("web:1"))
	s.finish("")
	s.want("healed", "True NewReplicaSetAvailable", s.condition(appsv1.DeploymentProgressing))
}

func TestResizeInTheMiddleOfARollout(t *testing.T) {
	t.Parallel()
	s := newStory(t, web(10))
	s.finish("")
	s.edit(image("slow"))
	s.finish("slow")
	s.want("before", map[string]int{"web:1": 8, "slow": 5}, s.images())
	s.edit(func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](20) })
	s.finish("slow")
	s.want("after", map[string]int{"web:1": 15, "slow": 10}, s.images())
	s.edit(func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](0) })
	s.finish("slow")
	s.want("to none", map[string]int{}, s.images())
}

func TestPauseHoldsTheTemplateNotTheSize(t *testing.T) {
	t.Parallel()
	s := newStory(t, web(2))
	s.finish("")
	s.edit(func(d *appsv1.Deployment) {
		d.Spec.Paused = true
		d.Spec.Replicas = ptr.To[int32](3)
		image("web:2")(d)
	})
	s.finish("")
	s.want("paused", map[string]int{"web:1": 3}, s.images())
	s.want("condition", "Unknown DeploymentPaused", s.condition(appsv1.DeploymentProgressing))
	s.edit(func(d *appsv1.Deployment) { d.Spec.Paused = false })
	s.finish("")
	s.want("resumed", map[string]int{"web:2": 3}, s.images())
	s.want("condition", "True NewReplicaSetAvailable", s.condition(appsv1.DeploymentProgressing))
}

func TestRecreateNeverMixes(t *testing.T) {
	t.Parallel()
	d := web(3)
	d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	s := newStory(t, d)
	s.finish("")
	s.ceiling = 3
	s.edit(image("web:2"))
	for range 20 {
		s.pass()
		if n := s.images(); n["web:1"] > 0 && n["web:2"] > 0 {
			t.Fatalf("both versions at once: %v", n)
		}
	}
	s.finish("")
	s.want("images", map[string]int{"web:2": 3}, s.images())
}

func TestQuotaRefusalIsShownAndHeals(t *testing.T) {
	t.Parallel()
	s := newStory(t, web(3))
	refuse := true
	s.api.BeforeCreate = func(o client.Object) error {
		if _, pod := o.(*corev1.Pod); pod && refuse {
			return errors.New("exceeded quota")
		}
		return nil
	}
	s.settle()
	s.want("failure", "True FailedCreate", s.condition(appsv1.DeploymentReplicaFailure))
	refuse = false
	s.finish("")
	s.want("failure", "", s.condition(appsv1.DeploymentReplicaFailure))
	s.want("images", map[string]int{"web:1": 3}, s.images())
}

func TestHashCollisionIsCounted(t *testing.T) {
	t.Parallel()
	s := newStory(t, web(1))
	s.settle()
	taken := s.sets()[0]
	if err := s.api.Delete(t.Context(), &taken); err != nil {
		t.Fatal(err)
	}
	taken.ResourceVersion, taken.UID, taken.OwnerReferences = "", "", nil
	taken.Labels, taken.Spec.Template.Spec.Containers[0].Image = map[string]string{"app": "other"}, "other"
	if err := s.api.Create(t.Context(), &taken); err != nil {
		t.Fatal(err)
	}
	if _, err := s.roll.Reconcile(t.Context(), controller.Named("shop", "web")); err == nil {
		t.Fatal("the taken name was accepted")
	}
	if _, err := s.roll.Reconcile(t.Context(), controller.Named("shop", "web")); err != nil {
		t.Fatal(err)
	}
	s.want("collisions", ptr.To[int32](1), s.get().Status.CollisionCount)
	s.want("sets", 2, len(s.sets()))
}
