package core_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/headway-sh/headway/scheduler/core"
)

func node(name string, cpu, memory string, change ...func(n *corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	n.Status.Allocatable = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory), corev1.ResourcePods: resource.MustParse("110"),
	}
	for _, f := range change {
		f(n)
	}
	return n
}

func pod(name, cpu string, change ...func(p *corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name)}}
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "web:1"}}
	if cpu != "" {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func prepared(t interface{ Fatal(...any) }, p *corev1.Pod) *core.Pod {
	out, err := core.NewPod(p)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestMessageCountsReasons(t *testing.T) {
	t.Parallel()
	s := core.NewState(1)
	if got := s.Decide(prepared(t, pod("p", "1"))).Message(); got != "no nodes available to schedule pods" {
		t.Errorf("without nodes: %q", got)
	}
	tainted := func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{{Key: "only", Value: "db", Effect: corev1.TaintEffectNoSchedule}}
	}
	for i := range 3 {
		s.SetNode(node(fmt.Sprint("tainted", i), "4", "8Gi", tainted))
	}
	s.SetNode(node("small0", "1", "8Gi"))
	s.SetNode(node("small1", "1", "8Gi"))
	d := s.Decide(prepared(t, pod("p", "2")))
	if want := "0/5 nodes are available: 2 Insufficient cpu, 3 node(s) had untolerated taint(s)."; d.Message() != want {
		t.Errorf("message %q, want %q", d.Message(), want)
	}
	if d.Helps != core.NodeAdded|core.NodeTainted|core.NodeGrown|core.PodGone {
		t.Errorf("helps %b", d.Helps)
	}
	s.SetNode(node("small1", "2", "8Gi"))
	if d := s.Decide(prepared(t, pod("p", "2"))); d.Node != "small1" {
		t.Errorf("after small1 grew: %+v", d)
	}
}

func TestPodsOfUnknownNodesCountOnceItIsKnown(t *testing.T) {
	t.Parallel()
	s := core.NewState(1)
	s.Place(prepared(t, pod("early", "3")), "n")
	s.SetNode(node("n", "4", "8Gi"))
	if d := s.Decide(prepared(t, pod("p", "2"))); d.Node != "" {
		t.Errorf("over-committed: %+v", d)
	}
	s.RemoveNode("n")
	s.SetNode(node("n", "4", "8Gi"))
	if d := s.Decide(prepared(t, pod("p", "2"))); d.Node != "" {
		t.Errorf("the pod was forgotten with its node: %+v", d)
	}
	s.Remove("early")
	if d := s.Decide(prepared(t, pod("p", "2"))); d.Node != "n" {
		t.Errorf("not freed: %+v", d)
	}
}

// TestTermsOfPromisedPodsDoNotHideOthers: trying what a promised pod would do
// to a node leaves what other nodes are asked about as it is.
func TestTermsOfPromisedPodsDoNotHideOthers(t *testing.T) {
	t.Parallel()
	alone := func(name string) *core.Pod {
		return prepared(t, pod(name, "1", func(p *corev1.Pod) {
			p.Spec.Priority = ptr.To(int32(5))
			p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
				{TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{name: "1"}}}}}}
		}))
	}
	s := core.NewState(1)
	s.SetNode(node("n", "4", "8Gi"))
	s.SetNode(node("m", "4", "8Gi"))
	s.Place(alone("b"), "elsewhere")
	s.Place(alone("c"), "elsewhere")
	s.Place(alone("d"), "n")
	s.Nominate(alone("a"), "m")
	d := s.Decide(prepared(t, pod("p", "1", func(p *corev1.Pod) { p.Labels = map[string]string{"a": "1", "b": "1", "c": "1", "d": "1"} })))
	want := map[string]int{"node(s) didn't satisfy existing pods anti-affinity rules": 2}
	if diff := cmp.Diff(want, d.Reasons); diff != "" || d.Node != "" {
		t.Errorf("goes to %q; reasons (-want +got):\n%s", d.Node, diff)
	}
}

// TestClasses: pods that differ in what decides about nodes are not alike,
// however their fields read in a row.
func TestClasses(t *testing.T) {
	t.Parallel()
	spread := func(change func(c *corev1.TopologySpreadConstraint)) func(p *corev1.Pod) {
		return func(p *corev1.Pod) {
			c := corev1.TopologySpreadConstraint{MaxSkew: 1, TopologyKey: corev1.LabelTopologyZone, WhenUnsatisfiable: corev1.DoNotSchedule}
			change(&c)
			p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{c}
		}
	}
	same := func(*corev1.TopologySpreadConstraint) {}
	for _, c := range []struct {
		name string
		a, b func(p *corev1.Pod)
	}{
		{"a selector and a toleration",
			func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"k": "Equal", "v": "NoSchedule"} },
			func(p *corev1.Pod) {
				p.Spec.Tolerations = []corev1.Toleration{{Key: "k", Operator: corev1.TolerationOpEqual, Value: "v", Effect: corev1.TaintEffectNoSchedule}}
			}},
		{"lengths and digits",
			func(p *corev1.Pod) {
				p.Spec.Containers = []corev1.Container{{Image: "2abc"}, {Image: strings.Repeat("x", 37)}}
			},
			func(p *corev1.Pod) {
				p.Spec.Containers = []corev1.Container{{Image: "abc37" + strings.Repeat("x", 37)}}
			}},
		{"the skew", spread(same), spread(func(c *corev1.TopologySpreadConstraint) { c.MaxSkew = 2 })},
		{"the least domains", spread(same), spread(func(c *corev1.TopologySpreadConstraint) { c.MinDomains = ptr.To(int32(2)) })},
		{"hard and soft", spread(same), spread(func(c *corev1.TopologySpreadConstraint) { c.WhenUnsatisfiable = corev1.ScheduleAnyway })},
	} {
		if a, b := prepared(t, pod("a", "", c.a)).Class, prepared(t, pod("b", "", c.b)).Class; a == b {
			t.Errorf("%s: one class %q", c.name, a)
		}
	}
}

var zones = []string{"a", "b"}

func drawNode(t *rapid.T, name string) *corev1.Node {
	return node(name, rapid.SampledFrom([]string{"1", "2", "4"}).Draw(t, "cpu"), rapid.SampledFrom([]string{"1Gi", "4Gi"}).Draw(t, "memory"), func(n *corev1.Node) {
		if rapid.IntRange(0, 5).Draw(t, "zoned") > 0 {
			n.Labels[corev1.LabelTopologyZone] = rapid.SampledFrom(zones).Draw(t, "zone")
		}
		if rapid.IntRange(0, 7).Draw(t, "twin") == 0 {
			n.Labels[corev1.LabelHostname] = "n1" // names that collide count as one domain
		}
		n.Spec.Unschedulable = rapid.IntRange(0, 9).Draw(t, "cordoned") == 0
		effect := rapid.SampledFrom([]corev1.TaintEffect{"", "", corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule}).Draw(t, "taint")
		if effect != "" {
			n.Spec.Taints = []corev1.Taint{{Key: "only", Effect: effect}}
		}
		n.Status.Allocatable[corev1.ResourcePods] = *resource.NewQuantity(int64(rapid.IntRange(1, 6).Draw(t, "pods")), resource.DecimalSI)
	})
}

func drawPod(t *rapid.T, name string) *corev1.Pod {
	return pod(name, rapid.SampledFrom([]string{"", "250m", "1"}).Draw(t, "cpu"), func(p *corev1.Pod) {
		app := rapid.SampledFrom([]string{"web", "db"}).Draw(t, "app")
		p.Namespace = rapid.SampledFrom([]string{"shop", "shop", "bank"}).Draw(t, "namespace")
		p.Labels = map[string]string{"app": app}
		if rapid.IntRange(0, 2).Draw(t, "owned") > 0 {
			p.OwnerReferences = []metav1.OwnerReference{{UID: types.UID(app), Controller: ptr.To(true)}}
		}
		switch rapid.IntRange(0, 11).Draw(t, "shape") {
		case 0:
			p.Spec.NodeSelector = map[string]string{corev1.LabelTopologyZone: "a"}
		case 1:
			p.Spec.Tolerations = []corev1.Toleration{{Key: "only", Operator: corev1.TolerationOpExists}}
		case 2:
			p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80}}
		case 3, 4:
			for range rapid.IntRange(1, 2).Draw(t, "constraints") {
				p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, drawSpread(t))
			}
			if rapid.Bool().Draw(t, "selective") {
				p.Spec.NodeSelector = map[string]string{corev1.LabelTopologyZone: "a"}
			}
		case 5, 6, 7:
			p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{}, PodAntiAffinity: &corev1.PodAntiAffinity{}}
			for range rapid.IntRange(1, 2).Draw(t, "terms") {
				switch term := drawTerm(t); rapid.IntRange(0, 3).Draw(t, "sort") {
				case 0:
					p.Spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution = append(p.Spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, term)
				case 1:
					p.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution = append(p.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, term)
				case 2:
					p.Spec.Affinity.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution = []corev1.WeightedPodAffinityTerm{{Weight: 10, PodAffinityTerm: term}}
				case 3:
					p.Spec.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution = []corev1.WeightedPodAffinityTerm{{Weight: 7, PodAffinityTerm: term}}
				}
			}
		case 8:
			p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{
				{Weight: 3, Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: []string{"b"}}}}}}}}
		}
	})
}

func drawSelector(t *rapid.T) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": rapid.SampledFrom([]string{"web", "db"}).Draw(t, "selects")}}
}

func drawTopology(t *rapid.T) string {
	return rapid.SampledFrom([]string{corev1.LabelTopologyZone, corev1.LabelHostname}).Draw(t, "topology")
}

func drawSpread(t *rapid.T) corev1.TopologySpreadConstraint {
	c := corev1.TopologySpreadConstraint{MaxSkew: rapid.Int32Range(1, 2).Draw(t, "skew"), TopologyKey: drawTopology(t), LabelSelector: drawSelector(t),
		WhenUnsatisfiable: rapid.SampledFrom([]corev1.UnsatisfiableConstraintAction{corev1.DoNotSchedule, corev1.ScheduleAnyway}).Draw(t, "when")}
	policy := rapid.SampledFrom([]*corev1.NodeInclusionPolicy{nil, ptr.To(corev1.NodeInclusionPolicyHonor), ptr.To(corev1.NodeInclusionPolicyIgnore)})
	c.NodeAffinityPolicy, c.NodeTaintsPolicy = policy.Draw(t, "affinities"), policy.Draw(t, "taints")
	if c.WhenUnsatisfiable == corev1.DoNotSchedule && rapid.Bool().Draw(t, "minimum") {
		c.MinDomains = ptr.To(rapid.Int32Range(1, 3).Draw(t, "domains"))
	}
	return c
}

func drawTerm(t *rapid.T) corev1.PodAffinityTerm {
	term := corev1.PodAffinityTerm{LabelSelector: drawSelector(t), TopologyKey: drawTopology(t)}
	switch rapid.IntRange(0, 3).Draw(t, "where") {
	case 0:
		term.Namespaces = []string{"bank"}
	case 1:
		term.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "a"}}
	}
	return term
}

// TestDecidesAsTheReference plays a random cluster life and asks at every pod
// whether the choice is one of the reference's best, or the refusal its refusal.
func TestDecidesAsTheReference(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := core.NewState(rapid.Uint64().Draw(t, "seed"))
		r := &reference{nodes: map[string]*corev1.Node{}, pods: map[string]*corev1.Pod{}, namespaces: map[string]string{}}
		for step := range rapid.IntRange(5, 60).Draw(t, "steps") {
			name := fmt.Sprint("n", rapid.IntRange(0, 5).Draw(t, "which"))
			switch action := rapid.IntRange(0, 11).Draw(t, "action"); {
			case action < 2:
				n := drawNode(t, name)
				s.SetNode(n)
				r.nodes[name] = n
			case action == 2 && rapid.Bool().Draw(t, "really"):
				s.RemoveNode(name)
				delete(r.nodes, name)
			case action == 3 && len(r.pods) > 0:
				gone := rapid.SampledFrom(slices.Sorted(maps.Keys(r.pods))).Draw(t, "gone")
				s.Remove(types.UID(gone))
				delete(r.pods, gone)
			case action == 4 && len(r.pods) > 0:
				p := r.pods[rapid.SampledFrom(slices.Sorted(maps.Keys(r.pods))).Draw(t, "going")].DeepCopy()
				p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
				s.Place(prepared(t, p), p.Spec.NodeName)
				r.pods[p.Name] = p
			case action == 5:
				namespace := rapid.SampledFrom([]string{"shop", "bank"}).Draw(t, "of")
				r.namespaces[namespace] = rapid.SampledFrom([]string{"a", "b"}).Draw(t, "team")
				s.SetNamespace(namespace, map[string]string{"team": r.namespaces[namespace]})
			default:
				decide(t, s, r, drawPod(t, fmt.Sprint("p", step)))
			}
		}
	})
}

func decide(t *rapid.T, s *core.State, r *reference, p *corev1.Pod) {
	asked := prepared(t, p)
	d := s.Decide(asked)
	if again := s.Decide(asked); cmp.Diff(d, again) != "" {
		t.Fatalf("two answers: %+v and %+v", d, again)
	}
	best, score, reasons := r.best(p)
	if len(best) == 0 {
		if diff := cmp.Diff(reasons, d.Reasons); d.Node != "" || (diff != "" && len(reasons)+len(d.Reasons) > 0) {
			t.Fatalf("%s goes to %q; reasons (-want +got):\n%s", p.Name, d.Node, diff)
		}
		return
	}
	if !slices.Contains(best, d.Node) || d.Score != score {
		t.Fatalf("%s goes to %q with %d, want one of %v with %d; reasons %v", p.Name, d.Node, d.Score, best, score, d.Reasons)
	}
	s.Place(asked, d.Node)
	p = p.DeepCopy() // the state shares the one it was asked about
	p.Spec.NodeName = d.Node
	r.pods[p.Name] = p
}
