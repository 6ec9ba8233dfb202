package scheduler_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/scheduler"
)

func inGang(p *corev1.Pod, size int) *corev1.Pod {
	p.Labels = map[string]string{scheduler.GangLabel: "train"}
	p.Annotations = map[string]string{scheduler.GangSizeAnnotation: fmt.Sprint(size)}
	return p
}

// TestAGangIsPlacedAsAWhole: it waits for its members, then for room for all of
// them, and takes none meanwhile.
func TestAGangIsPlacedAsAWhole(t *testing.T) {
	r := start(t, true, node("n1", "2"))
	message := func(name string) string { return condition(r.pod(name), corev1.PodScheduled).Message }
	r.create(inGang(pod("g0", "1"), 3), inGang(pod("g1", "1"), 3))
	r.await("the members wait", func() bool {
		// Which of the two comes first is left open.
		return strings.HasPrefix(message("g0"), "waiting for ") && strings.HasPrefix(message("g1"), "waiting for ") &&
			strings.Contains(message("g0")+message("g1"), `waiting for 1 more pods of gang "train"`)
	})
	r.create(inGang(pod("g2", "1"), 3))
	r.await("two of three fit, so none goes", func() bool {
		refused, held := 0, 0
		for _, name := range []string{"g0", "g1", "g2"} {
			switch m := message(name); {
			case m == "0/1 nodes are available: 1 Insufficient cpu.":
				refused++
			case strings.HasPrefix(m, `gang "train" does not fit as a whole: pod g`) && strings.HasSuffix(m, ": 0/1 nodes are available: 1 Insufficient cpu."):
				held++
			}
		}
		return refused == 1 && held == 2
	})
	r.create(pod("other", "2"))
	r.await("the room is not held", func() bool { return r.pod("other").Spec.NodeName == "n1" })
	r.create(node("n2", "1"), node("n3", "2"))
	r.await("all go", func() bool { n := r.byNode(); return n["n2"] == 1 && n["n3"] == 2 })
}

// TestAGangIsBoundInOneTransaction: one that cannot be bound keeps all back.
func TestAGangIsBoundInOneTransaction(t *testing.T) {
	r := start(t, true, node("n1", "4"))
	lost := 0
	r.txn.mu.Lock()
	r.txn.lose = func(ref txn.Ref) error {
		if ref.Name == "g1" && lost == 0 {
			lost++
			return apierrors.NewConflict(ref.Resource, ref.Name, fmt.Errorf("changed"))
		}
		return nil
	}
	r.txn.mu.Unlock()
	r.create(inGang(pod("g0", "1"), 2), inGang(pod("g1", "1"), 2))
	r.await("both, after one was lost", func() bool { return r.byNode()["n1"] == 2 })
	r.txn.mu.Lock()
	defer r.txn.mu.Unlock()
	if lost != 1 || r.txn.sizes[len(r.txn.sizes)-1] != 2 {
		t.Errorf("lost %d; transactions of %v binds, want the last of 2", lost, r.txn.sizes)
	}
}

// TestAGangOutlivesAMember: when one has been deleted before it could be bound,
// the others wait for the pod that replaces it.
func TestAGangOutlivesAMember(t *testing.T) {
	r := start(t, true, node("n1", "4"))
	refused := 0
	r.txn.mu.Lock()
	r.txn.refuse = func(ref txn.Ref) error {
		if ref.Name != "g1" {
			return nil
		}
		refused++
		return apierrors.NewNotFound(ref.Resource, ref.Name)
	}
	r.txn.mu.Unlock()
	r.create(inGang(pod("g0", "1"), 2), inGang(pod("g1", "1"), 2))
	r.await("the gang refused", func() bool {
		r.txn.mu.Lock()
		defer r.txn.mu.Unlock()
		return refused > 0
	})
	if err := r.api.Delete(t.Context(), r.pod("g1")); err != nil {
		t.Fatal(err)
	}
	r.create(inGang(pod("g2", "1"), 2))
	r.await("the rest and the new one", func() bool { return r.byNode()["n1"] == 2 })
}
