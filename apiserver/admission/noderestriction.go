package admission

import (
	"context"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
	"github.com/headway-sh/headway/internal/localvolume"
	"github.com/headway-sh/headway/internal/podrefs"
)

const (
	nodeUser      = "system:node:"
	nodesGroup    = "system:nodes"
	nodeLeases    = corev1.NamespaceNodeLease
	restrictedFor = "node-restriction.kubernetes.io"
)

// ownLabels are the labels below kubernetes.io and k8s.io that a node may set
// on itself; those below ownPrefixes too.
var (
	ownLabels = []string{
		"kubernetes.io/hostname", "kubernetes.io/arch", "kubernetes.io/os", "beta.kubernetes.io/arch", "beta.kubernetes.io/os",
		"beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type", "failure-domain.beta.kubernetes.io/region",
		"failure-domain.beta.kubernetes.io/zone", "failure-domain.kubernetes.io/region", "failure-domain.kubernetes.io/zone",
		"topology.kubernetes.io/region", "topology.kubernetes.io/zone",
	}
	ownPrefixes = []string{"kubelet.kubernetes.io", "node.kubernetes.io"}
)

// nodeRestriction lets an agent write only what its own node needs.
func nodeRestriction() write.Step {
	return write.Step{Name: "NodeRestriction", Validate: func(_ context.Context, view txn.View, r *write.Request) error {
		node, ok := nodeOf(r.Identity)
		if !ok {
			return nil
		}
		switch r.Ref.Resource {
		case podsResource:
			return restrictPod(r, node)
		case nodesResource:
			return restrictNode(r, node)
		case schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}:
			if r.Ref.Namespace != nodeLeases {
				return forbidden(r, "can only access leases in the %q system namespace", nodeLeases)
			}
			return restrictName(r, node, "lease")
		case volumesResource:
			return restrictVolume(view, r, node)
		case schema.GroupResource{Group: "storage.k8s.io", Resource: "csinodes"}:
			return restrictName(r, node, "CSINode")
		}
		return nil
	}}
}

func nodeOf(identity txn.Identity) (string, bool) {
	name, ok := strings.CutPrefix(identity.Name, nodeUser)
	return name, ok && name != "" && slices.Contains(identity.Groups, nodesGroup)
}

var volumesResource = schema.GroupResource{Resource: "persistentvolumes"}

// restrictVolume lets a node do one thing to a volume: let go of one that is
// being deleted and whose data it held.
func restrictVolume(view txn.View, r *write.Request, node string) error {
	if r.Operation != write.OperationUpdate || r.Subresource != "" {
		return forbidden(r, "node %q may only let go of volumes that it held", node)
	}
	old, after := r.Old.(*corev1.PersistentVolume), r.Object.(*corev1.PersistentVolume)
	self, ok := view.Get(txn.Ref{Resource: nodesResource, Name: node})
	if !ok || !localvolume.Is(old) || old.DeletionTimestamp == nil || localvolume.Host(old) != self.GetLabels()[corev1.LabelHostname] {
		return forbidden(r, "node %q may only let go of volumes that it held", node)
	}
	allowed := old.DeepCopy()
	controllerutil.RemoveFinalizer(allowed, localvolume.Finalizer)
	if !slices.Equal(allowed.Finalizers, after.Finalizers) || !apiequality.Semantic.DeepEqual(allowed.Spec, after.Spec) ||
		!maps.Equal(allowed.Labels, after.Labels) || !maps.Equal(allowed.Annotations, after.Annotations) ||
		!apiequality.Semantic.DeepEqual(allowed.OwnerReferences, after.OwnerReferences) {
		return forbidden(r, "node %q may change nothing of a volume but the finalizer %s", node, localvolume.Finalizer)
	}
	return nil
}

func restrictName(r *write.Request, node, what string) error {
	if r.Ref.Name != node {
		return forbidden(r, "node %q can only access %s with the same name as the requesting node", node, what)
	}
	return nil
}

func restrictPod(r *write.Request, node string) error {
	if r.Operation == write.OperationCreate && r.Subresource == "" {
		return restrictMirror(r, r.Object.(*corev1.Pod), node)
	}
	if r.Old != nil && r.Old.(*corev1.Pod).Spec.NodeName != node {
		what := "delete pods"
		switch {
		case r.Subresource == "status":
			what = "update pod status for pods"
		case r.Operation != write.OperationDelete:
			what = "write pods"
		}
		return forbidden(r, "node %q can only %s with spec.nodeName set to itself", node, what)
	}
	switch {
	case r.Operation == write.OperationDelete, r.Subresource == "eviction":
		return nil
	case r.Subresource != "status":
		return forbidden(r, "node %q may not write pods beyond their status", node)
	}
	if !apiequality.Semantic.DeepEqual(r.Old.GetLabels(), r.Object.GetLabels()) {
		return forbidden(r, "node %q cannot update labels through pod status", node)
	}
	return nil
}

// restrictMirror lets a node show the pods of its own files and no other. They
// may not reach for anything that the API protects.
func restrictMirror(r *write.Request, pod *corev1.Pod, node string) error {
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; !mirror {
		return forbidden(r, "pod does not have %q annotation, node %q can only create mirror pods", corev1.MirrorPodAnnotationKey, node)
	}
	if pod.Spec.NodeName != node {
		return forbidden(r, "node %q can only create pods with spec.nodeName set to itself", node)
	}
	owners := pod.OwnerReferences
	if len(owners) != 1 || owners[0].APIVersion != "v1" || owners[0].Kind != "Node" || owners[0].Name != node {
		return forbidden(r, "node %q can only create pods with an owner reference set to itself", node)
	}
	if what := podrefs.Any(pod); what != "" {
		return forbidden(r, "node %q can not create pods that reference %s", node, what)
	}
	return nil
}

func restrictNode(r *write.Request, node string) error {
	if r.Ref.Name != node {
		return forbidden(r, "node %q is not allowed to modify node %q", node, r.Ref.Name)
	}
	if r.Operation == write.OperationDelete {
		return forbidden(r, "node %q is not allowed to delete itself", node)
	}
	after := r.Object.(*corev1.Node)
	before := &corev1.Node{}
	if r.Old != nil {
		before = r.Old.(*corev1.Node)
		if !apiequality.Semantic.DeepEqual(before.Spec.Taints, after.Spec.Taints) {
			return forbidden(r, "node %q is not allowed to modify taints", node)
		}
	}
	if !apiequality.Semantic.DeepEqual(before.OwnerReferences, after.OwnerReferences) {
		return forbidden(r, "node %q is not allowed to modify owner references", node)
	}
	var refused []string
	for _, label := range changedLabels(before.Labels, after.Labels) {
		if protected(label) {
			refused = append(refused, label)
		}
	}
	if len(refused) > 0 {
		return forbidden(r, "is not allowed to modify labels: %s", strings.Join(refused, ", "))
	}
	return nil
}

func changedLabels(before, after map[string]string) []string {
	var changed []string
	for k, v := range after {
		if old, ok := before[k]; !ok || old != v {
			changed = append(changed, k)
		}
	}
	for k := range before {
		if _, ok := after[k]; !ok {
			changed = append(changed, k)
		}
	}
	slices.Sort(changed)
	return changed
}

// protected tells whether a node may not set a label on itself, because
// workloads are kept apart by it.
func protected(label string) bool {
	domain, _, _ := strings.Cut(label, "/")
	below := func(parent string) bool { return domain == parent || strings.HasSuffix(domain, "."+parent) }
	switch {
	case !strings.Contains(label, "/"):
		return false
	case below(restrictedFor):
		return true
	case !below("kubernetes.io") && !below("k8s.io"):
		return false
	}
	return !slices.Contains(ownLabels, label) && !slices.ContainsFunc(ownPrefixes, below)
}
