package scheduler_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func important(p *corev1.Pod, priority int32) *corev1.Pod {
	p.Spec.Priority = ptr.To(priority)
	return p
}

func (r *run) pod(name string) *corev1.Pod {
	r.Helper()
	p := &corev1.Pod{}
	if err := r.api.Get(r.Context(), client.ObjectKey{Namespace: "shop", Name: name}, p); client.IgnoreNotFound(err) != nil {
		r.Fatal(err)
	}
	return p
}

func (r *run) create(objects ...client.Object) {
	r.Helper()
	for _, o := range objects {
		if err := r.api.Create(r.Context(), o); err != nil {
			r.Fatal(err)
		}
	}
}

func condition(p *corev1.Pod, kind corev1.PodConditionType) corev1.PodCondition {
	for _, c := range p.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return corev1.PodCondition{}
}

// TestVictimsMakeWay: the least important pod is told why it goes and deleted;
// the room is kept for the pod that it made way for until it has ended.
func TestVictimsMakeWay(t *testing.T) {
	r := start(t, true, node("n1", "4"))
	victim := important(pod("victim", "2"), 1)
	victim.Finalizers = []string{"example.com/grace"} // ends when the test says so
	r.create(victim, important(pod("kept", "2"), 2))
	r.await("both run", func() bool { return r.byNode()["n1"] == 2 })
	r.create(important(pod("urgent", "2"), 10))
	r.await("the victim is deleted and the promise written", func() bool {
		return r.pod("victim").DeletionTimestamp != nil && r.pod("urgent").Status.NominatedNodeName == "n1"
	})
	c := condition(r.pod("victim"), corev1.DisruptionTarget)
	if c.Status != corev1.ConditionTrue || c.Reason != corev1.PodReasonPreemptionByScheduler || c.Message != "default-scheduler: preempting to accommodate a higher priority pod" {
		t.Errorf("victim's condition %+v", c)
	}
	if got := condition(r.pod("urgent"), corev1.PodScheduled).Message; !strings.HasPrefix(got, "0/1 nodes are available: 1 Insufficient cpu.") {
		t.Errorf("message %q", got)
	}
	r.create(important(pod("thief", "2"), 5))
	end := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
	if err := r.api.Patch(t.Context(), r.pod("victim"), end); err != nil {
		t.Fatal(err)
	}
	r.await("the room goes to whom it was promised", func() bool { return r.pod("urgent").Spec.NodeName == "n1" })
	r.await("the less important one preempts the least", func() bool {
		return r.pod("thief").Spec.NodeName == "n1" && r.pod("kept").Name == ""
	})
	r.await("the event", func() bool {
		var list corev1.EventList
		if err := r.api.List(t.Context(), &list); err != nil {
			t.Fatal(err)
		}
		for _, e := range list.Items {
			if e.Reason == "Preempted" && e.InvolvedObject.Name == "victim" {
				return e.Message == "Preempted by pod "+string(r.pod("urgent").UID)+" on node n1"
			}
		}
		return false
	})
}

func TestPodsThatNeverPreemptSaySo(t *testing.T) {
	r := start(t, true, node("n1", "2"))
	r.create(important(pod("low", "2"), 1))
	r.await("it runs", func() bool { return r.byNode()["n1"] == 1 })
	polite := important(pod("polite", "2"), 10)
	polite.Spec.PreemptionPolicy = ptr.To(corev1.PreemptNever)
	r.create(polite, important(pod("equal", "2"), 1))
	for name, want := range map[string]string{
		"polite": "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never.",
		"equal":  "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
	} {
		r.await(name, func() bool { return condition(r.pod(name), corev1.PodScheduled).Message == want })
	}
}
