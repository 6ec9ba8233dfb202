package core_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/scheduler/core"
)

// TestProfilesDecide: of three nodes "half" has half of its cpu in use, "empty"
// none, and "odd" none but has a label.
func TestProfilesDecide(t *testing.T) {
	t.Parallel()
	rack := func(o *corev1.Pod) string { return o.Labels["rack"] }
	for _, c := range []struct {
		name    string
		profile core.Profile
		change  func(p *corev1.Pod)
		want    string
		message string
	}{
		{"most allocated", core.Profile{Scoring: core.Scoring{Strategy: core.MostAllocated}}, nil, "half", ""},
		{"a shape that likes three quarters", core.Profile{Scoring: core.Scoring{Strategy: core.RequestedToCapacity,
			Resources: []core.WeightedResource{{Name: corev1.ResourceCPU}}, Shape: []core.ShapePoint{{Used: 0, Score: 0}, {Used: 75, Score: 100}, {Used: 100, Score: 0}}}}, nil, "half", ""},
		{"a filter of others", core.Profile{Filters: []core.FilterPlugin{{Name: "Rack", Class: rack, Helps: core.NodeLabelled,
			Filter: func(p *corev1.Pod, n *core.Node) string {
				if n.Object.Labels["rack"] == p.Labels["rack"] {
					return ""
				}
				return "node(s) are in another rack"
			}}}}, func(p *corev1.Pod) { p.Labels = map[string]string{"rack": "7"} }, "odd", ""},
		{"a filter of others that refuses", core.Profile{Filters: []core.FilterPlugin{{Name: "Rack", Class: rack,
			Filter: func(*corev1.Pod, *core.Node) string { return "node(s) are in another rack" }}}}, nil, "",
			"0/3 nodes are available: 3 node(s) are in another rack."},
		{"a score of others", core.Profile{Scores: []core.ScorePlugin{{Name: "Odd", Weight: 9, Score: func(_ *corev1.Pod, n *core.Node) int64 {
			if n.Name == "odd" {
				return 100
			}
			return 0
		}}}}, nil, "odd", ""},
		{"no filter by resources", core.Profile{Without: map[string]bool{"NodeResourcesFit": true},
			Weights: map[string]int64{"NodeResourcesBalancedAllocation": 0}}, func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: *node("", "64", "1Gi").Status.Allocatable.Cpu()}
			p.Spec.NodeSelector = map[string]string{"rack": "7"}
		}, "odd", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := core.NewState(1)
			s.SetNode(node("half", "4", "8Gi"))
			s.SetNode(node("empty", "4", "8Gi"))
			s.SetNode(node("odd", "4", "8Gi", func(n *corev1.Node) { n.Labels["rack"] = "7" }))
			s.Place(prepared(t, pod("there", "2")), "half")
			c.profile.Name = "mine"
			s.SetProfiles(c.profile)
			p := prepared(t, pod("p", "1", func(p *corev1.Pod) {
				p.Spec.SchedulerName = "mine"
				if c.change != nil {
					c.change(p)
				}
			}))
			d := s.Decide(p)
			if d.Node != c.want || c.message != "" && d.Message() != c.message {
				t.Errorf("goes to %q, want %q: %s", d.Node, c.want, d.Message())
			}
			if d := s.Decide(prepared(t, pod("q", "1"))); d.Node == "half" || d.Node == "" {
				t.Errorf("by default to %q", d.Node)
			}
		})
	}
}
