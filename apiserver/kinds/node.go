package kinds

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"strconv"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func nodeKind() *kind.Kind {
	p := partsOf(func(o *corev1.Node) *corev1.NodeSpec { return &o.Spec }, func(o *corev1.Node) *corev1.NodeStatus { return &o.Status })
	return &kind.Kind{
		GVK:           corev1.SchemeGroupVersion.WithKind("Node"),
		Plural:        "nodes",
		Singular:      "node",
		ShortNames:    []string{"no"},
		StoragePrefix: "minions",
		New:           func() txn.Object { return &corev1.Node{} },
		NewList:       func() runtime.Object { return &corev1.NodeList{} },
		Default:       defaults(defaultNode),
		Prepare: prepare(func(o, old *corev1.Node) {
			// A new node comes with its status: that is how agents register.
			if old != nil {
				o.Status = old.Status
			}
			// Configuration through the API is gone: only what has it keeps it.
			if old == nil || old.Spec.ConfigSource == nil {
				o.Spec.ConfigSource = nil
			}
			if old == nil || old.Spec.PodPreemptionPolicy == nil {
				o.Spec.PodPreemptionPolicy = nil
			}
		}),
		Subresources: map[string]kind.Subresource{
			"status": {Verbs: []string{"get", "patch", "update"}, Validate: validate(checkNode), Prepare: prepare(func(o, old *corev1.Node) {
				p.onlyStatus(o, old)
				if old.Status.Config == nil {
					o.Status.Config = nil
				}
			})},
			"proxy": proxySubresource("NodeProxyOptions"),
		},
		Fields: map[string]func(txn.Object) string{
			"spec.unschedulable": text(func(o *corev1.Node) string { return strconv.FormatBool(o.Spec.Unschedulable) }),
		},
		Validate: validate(checkNode),
		Warnings: warnings(nodeWarnings),
		Columns:  nodeColumns(),
		Row:      row(nodeRow),
	}
}

func defaultNode(o *corev1.Node) {
	if o.Status.Allocatable == nil && o.Status.Capacity != nil {
		o.Status.Allocatable = o.Status.Capacity.DeepCopy()
	}
	roundResources(o.Status.Capacity)
	roundResources(o.Status.Allocatable)
	// Two names of one field; whoever knows only the older one has said all.
	s := &o.Spec
	if s.PodCIDR != "" && (len(s.PodCIDRs) == 0 || s.PodCIDRs[0] != s.PodCIDR) {
		s.PodCIDRs = []string{s.PodCIDR}
	}
	if len(s.PodCIDRs) > 0 {
		s.PodCIDR = s.PodCIDRs[0]
	}
}
