package daemonset

import (
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	schedulingv1 "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// tolerated are the taints that every pod of a DaemonSet tolerates: a node in
// trouble needs its daemons most.
var tolerated = []corev1.Toleration{
	{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
	{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
	{Key: corev1.TaintNodeDiskPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
	{Key: corev1.TaintNodeMemoryPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
	{Key: corev1.TaintNodePIDPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
	{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
}

// ofTheHost is tolerated by pods in the host's network.
var ofTheHost = corev1.Toleration{Key: corev1.TaintNodeNetworkUnavailable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}

// tolerations are a template's with those that are added.
func tolerations(spec *corev1.PodSpec) []corev1.Toleration {
	all := slices.Clone(spec.Tolerations)
	added := tolerated
	if spec.HostNetwork {
		added = append(slices.Clone(tolerated), ofTheHost)
	}
	for _, t := range added {
		if !slices.ContainsFunc(all, func(o corev1.Toleration) bool {
			return o.Key == t.Key && o.Effect == t.Effect && o.Operator == t.Operator
		}) {
			all = append(all, t)
		}
	}
	return all
}

// Judge tells for nodes whether they are a set's.
type Judge struct {
	nodeName    string
	affinity    nodeaffinity.RequiredNodeAffinity
	tolerations []corev1.Toleration
}

// NewJudge reads what a set asks of nodes.
func NewJudge(set *appsv1.DaemonSet) *Judge {
	spec := &set.Spec.Template.Spec
	return &Judge{spec.NodeName, nodeaffinity.GetRequiredNodeAffinity(&corev1.Pod{Spec: *spec}), tolerations(spec)}
}

// Of tells whether a pod should run on the node, and whether one that runs
// there may stay. A taint that keeps new pods away drives none out.
func (j *Judge) Of(n *corev1.Node) (run, stay bool) {
	if j.nodeName != "" && j.nodeName != n.Name {
		return false, false
	}
	if ok, err := j.affinity.Match(n); err != nil || !ok {
		return false, false
	}
	run, stay = true, true
	for i := range n.Spec.Taints {
		t := &n.Spec.Taints[i]
		if t.Effect == corev1.TaintEffectPreferNoSchedule || schedulingv1.TolerationsTolerateTaint(klog.Logger{}, j.tolerations, t, false) {
			continue
		}
		run = false
		stay = stay && t.Effect != corev1.TaintEffectNoExecute
	}
	return run, stay
}

// matters tells whether a change of a node can change a judgement.
func matters(before, after *corev1.Node) bool {
	return before == nil || after == nil || !maps.Equal(before.Labels, after.Labels) || !equality.Semantic.DeepEqual(before.Spec.Taints, after.Spec.Taints)
}

// nameField is the field that a pod's affinity names its node by.
const nameField = metav1.ObjectNameField

// onNode gives an affinity by which a pod may go to the one node only. What the
// template requires of nodes has been judged already.
func onNode(a *corev1.Affinity, node string) *corev1.Affinity {
	a = a.DeepCopy()
	if a == nil {
		a = &corev1.Affinity{}
	}
	if a.NodeAffinity == nil {
		a.NodeAffinity = &corev1.NodeAffinity{}
	}
	a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchFields: []corev1.NodeSelectorRequirement{{Key: nameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
	}}}
	return a
}

// nodeOf is the node that a pod is on, or is for; empty when it does not say.
func nodeOf(p *corev1.Pod) string {
	if p.Spec.NodeName != "" {
		return p.Spec.NodeName
	}
	a := p.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return ""
	}
	for _, term := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, f := range term.MatchFields {
			if f.Key == nameField && f.Operator == corev1.NodeSelectorOpIn && len(f.Values) == 1 {
				return f.Values[0]
			}
		}
	}
	return ""
}
