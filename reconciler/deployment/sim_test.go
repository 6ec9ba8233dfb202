package deployment_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/podstate"
)

var errLost = errors.New("the connection was lost")

// sim is a story whose controllers and nodes move in any order, and whose writes
// may be lost.
type sim struct {
	*story
	rt      *rapid.T
	failing int // the create or delete that is lost, counted down
}

func (s *sim) lose(client.Object) error {
	s.failing--
	if s.failing == 0 {
		return errLost
	}
	return nil
}

func (s *sim) active() int {
	n := 0
	for _, p := range s.pods() {
		if podstate.IsActive(&p) {
			n++
		}
	}
	return n
}

// step lets one of the controllers do a pass and counts the pods.
func (s *sim) step(keep bool) {
	l := s.get().Spec
	var err error
	if sets := s.sets(); keep && len(sets) > 0 {
		slices.SortFunc(sets, func(a, b appsv1.ReplicaSet) int { return strings.Compare(a.Name, b.Name) })
		_, err = s.story.keep.Reconcile(s.Context(), controller.Request(&sets[rapid.IntRange(0, len(sets)-1).Draw(s.rt, "set")]))
	} else {
		_, err = s.roll.Reconcile(s.Context(), controller.Named("shop", "web"))
	}
	if err != nil && !errors.Is(err, errLost) {
		s.rt.Fatal(err)
	}
	active := s.active()
	if ceiling := int(*l.Replicas) + l.Strategy.RollingUpdate.MaxSurge.IntValue(); active > ceiling {
		s.rt.Fatalf("%d pods, more than %d: %s", active, ceiling, s.dump())
	}
}

// run makes one pod ready.
func (s *sim) run() {
	pods := s.pods()
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	if len(pods) == 0 {
		return
	}
	p := pods[rapid.IntRange(0, len(pods)-1).Draw(s.rt, "pod")]
	if podstate.IsReady(&p) || p.Spec.Containers[0].Image == "broken" {
		return
	}
	p.Status.Phase = corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(s.clock.Now())}}
	if err := s.api.Status().Update(s.Context(), &p); err != nil {
		s.rt.Fatal(err)
	}
}

// TestNeverTooManyPodsInAnyOrder: whichever controller is late, and whatever
// write is lost, there are never more pods than the surge permits, and in the
// end all is rolled out. That enough pods are available is a promise about what
// a pass has read; TestRollingUpdateKeepsItsPromises holds it to that.
func TestNeverTooManyPodsInAnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		d := web(rapid.Int32Range(1, 5).Draw(rt, "replicas"))
		surge := rapid.Int32Range(0, 2).Draw(rt, "surge")
		unavailable := rapid.Int32Range(0, 2).Draw(rt, "unavailable")
		if surge == 0 && unavailable == 0 {
			surge = 1
		}
		d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: ptr.To(intstr.FromInt32(surge)), MaxUnavailable: ptr.To(intstr.FromInt32(unavailable))}
		s := &sim{story: newStory(t, d), rt: rt}
		s.api.BeforeCreate, s.api.BeforeDelete = s.lose, s.lose
		for range rapid.IntRange(0, 25).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"roll", "roll", "keep", "keep", "keep", "run", "run", "edit", "lost"}).Draw(rt, "step") {
			case "roll":
				s.step(false)
			case "keep":
				s.step(true)
			case "run":
				s.run()
			case "edit":
				s.edit(image(rapid.SampledFrom([]string{"web:1", "web:2", "broken"}).Draw(rt, "image")))
			case "lost":
				s.failing = rapid.IntRange(1, 3).Draw(rt, "write")
			}
		}
		s.failing = 0
		s.edit(image("web:9"))
		s.finish("")
		if n := s.images(); n["web:9"] != int(*d.Spec.Replicas) || len(n) != 1 {
			rt.Fatalf("images %v", n)
		}
		if got := s.condition(appsv1.DeploymentProgressing); got != "True NewReplicaSetAvailable" {
			rt.Fatalf("progressing: %s", got)
		}
	})
}
