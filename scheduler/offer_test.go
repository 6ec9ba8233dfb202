package scheduler_test

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/scheduler"
)

// haggler has a say in preemption for pods whose name begins with "asked".
type haggler struct {
	*extender
	choose func(p *corev1.Pod, victims map[string]scheduler.Victims) (map[string]scheduler.Choice, error)
}

func (*haggler) Preempts() bool { return true }

func (h *haggler) Preempt(_ context.Context, p *corev1.Pod, victims map[string]scheduler.Victims) (map[string]scheduler.Choice, error) {
	return h.choose(p, victims)
}

func all(names []string) map[string]bool {
	fit := map[string]bool{}
	for _, n := range names {
		fit[n] = true
	}
	return fit
}

func haggling(choose func(*corev1.Pod, map[string]scheduler.Victims) (map[string]scheduler.Choice, error)) *haggler {
	return &haggler{&extender{filter: func(_ *corev1.Pod, names []string) (map[string]bool, map[string]string, error) {
		return all(names), nil, nil
	}}, choose}
}

// whole is a choice of all victims.
func whole(v scheduler.Victims) scheduler.Choice {
	c := scheduler.Choice{Violations: v.Violations}
	for _, p := range v.Pods {
		c.Pods = append(c.Pods, p.UID)
	}
	return c
}

// TestAnExtenderChoosesVictims: it takes the node with the more important pod,
// although preemption itself would have taken the other.
func TestAnExtenderChoosesVictims(t *testing.T) {
	h := haggling(func(_ *corev1.Pod, victims map[string]scheduler.Victims) (map[string]scheduler.Choice, error) {
		if len(victims) != 2 || victims["n1"].Pods[0].Name != "low" || victims["n2"].Pods[0].Name != "middle" {
			t.Errorf("asked about %v", victims)
		}
		return map[string]scheduler.Choice{"n2": whole(victims["n2"])}, nil
	})
	r := startWith(t, true, extended(scheduler.Extensions{Extenders: []scheduler.Extender{h}}), node("n1", "2"))
	r.create(important(pod("low", "2"), 1))
	r.await("the first runs", func() bool { return r.byNode()["n1"] == 1 })
	r.create(node("n2", "2"), important(pod("middle", "2"), 2))
	r.await("both run", func() bool { return r.byNode()["n2"] == 1 })
	r.create(important(pod("asked", "2"), 10))
	r.await("it has the other's place", func() bool { return r.pod("asked").Spec.NodeName == "n2" && r.pod("middle").Name == "" })
	if r.pod("low").Name == "" {
		t.Error("the one that was spared has gone")
	}
}

// TestAnswersAboutVictimsThatAreNone: nobody has to go because of one, and the
// pod says why it waits; an extender that may be ignored is.
func TestAnswersAboutVictimsThatAreNone(t *testing.T) {
	for name, test := range map[string]struct {
		answer map[string]scheduler.Choice
		err    error
		want   string
	}{
		"an error":        {nil, errors.New("out of order"), "0/1 nodes are available: 1 Insufficient cpu. preemption: extender outside: out of order"},
		"another node":    {map[string]scheduler.Choice{"n9": {Pods: []types.UID{"x"}}}, nil, `0/1 nodes are available: 1 Insufficient cpu. preemption: extender outside: node "n9" was not asked about`},
		"another pod":     {map[string]scheduler.Choice{"n1": {Pods: []types.UID{"x"}}}, nil, `0/1 nodes are available: 1 Insufficient cpu. preemption: extender outside: pod "x" is no victim on node "n1"`},
		"without victims": {map[string]scheduler.Choice{"n1": {}}, nil, `0/1 nodes are available: 1 Insufficient cpu. preemption: extender outside: node "n1" is to do without a victim`},
		"no node":         {nil, nil, "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 node(s) were refused by extenders."},
	} {
		t.Run(name, func(t *testing.T) {
			choose := func(*corev1.Pod, map[string]scheduler.Victims) (map[string]scheduler.Choice, error) {
				return test.answer, test.err
			}
			h := haggling(choose)
			r := startWith(t, true, extended(scheduler.Extensions{Extenders: []scheduler.Extender{h}}), node("n1", "2"))
			r.create(important(pod("low", "2"), 1))
			r.await("it runs", func() bool { return r.byNode()["n1"] == 1 })
			r.create(important(pod("asked", "2"), 10))
			r.says("asked", test.want)
			if r.pod("low").DeletionTimestamp != nil || r.pod("low").Name == "" {
				t.Error("somebody had to go")
			}
		})
	}
	h := haggling(func(*corev1.Pod, map[string]scheduler.Victims) (map[string]scheduler.Choice, error) {
		return nil, errors.New("broken")
	})
	h.ignorable = true
	r := startWith(t, true, extended(scheduler.Extensions{Extenders: []scheduler.Extender{h}}), node("n1", "2"))
	r.create(important(pod("low", "2"), 1))
	r.await("it runs", func() bool { return r.byNode()["n1"] == 1 })
	r.create(important(pod("asked", "2"), 10))
	r.await("it goes without the extender's word", func() bool { return r.pod("asked").Spec.NodeName == "n1" })
}
