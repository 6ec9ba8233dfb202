package kinds

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func podSubresources(onlyStatus func(o, old txn.Object)) map[string]kind.Subresource {
	update := []string{"get", "patch", "update"}
	stream := func(options string) kind.Subresource {
		return kind.Subresource{GVK: corev1.SchemeGroupVersion.WithKind(options), Verbs: []string{"create", "get"}, Connect: true}
	}
	return map[string]kind.Subresource{
		"status": {Verbs: update, Validate: validate(checkPodStatus), Prepare: prepare(func(o, old *corev1.Pod) {
			onlyStatus(o, old)
			// The class follows from the spec; an agent may leave it out.
			setDefault(&o.Status.QOSClass, old.Status.QOSClass)
			dropUnusedStatus(&o.Status, &old.Status)
			completeAddresses(&o.Status)
		})},
		"ephemeralcontainers": {Verbs: update, Prepare: prepare(prepareEphemeral), Validate: validate(checkEphemeralUpdate)},
		"resize":              {Verbs: update, Prepare: prepare(prepareResize), Validate: validate(checkResize)},
		"binding": {
			GVK: corev1.SchemeGroupVersion.WithKind("Binding"), Verbs: []string{"create"},
			Set: bindPod, Prepare: func(_, _ txn.Object) {}, Validate: noErrors,
		},
		"eviction":    {GVK: policyv1.SchemeGroupVersion.WithKind("Eviction"), Verbs: []string{"create"}, Connect: true},
		"log":         {Verbs: []string{"get"}, Connect: true},
		"attach":      stream("PodAttachOptions"),
		"exec":        stream("PodExecOptions"),
		"portforward": stream("PodPortForwardOptions"),
		"proxy":       proxySubresource("PodProxyOptions"),
	}
}

// completeAddresses brings the two names of a pod's first address together; the
// old one counts where they differ.
func completeAddresses(s *corev1.PodStatus) {
	switch {
	case s.PodIP != "" && (len(s.PodIPs) == 0 || s.PodIPs[0].IP != s.PodIP):
		s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	case s.PodIP == "" && len(s.PodIPs) > 0:
		s.PodIP = s.PodIPs[0].IP
	}
}

func proxySubresource(options string) kind.Subresource {
	return kind.Subresource{
		GVK: corev1.SchemeGroupVersion.WithKind(options), Verbs: []string{"create", "delete", "get", "patch", "update"}, Connect: true,
	}
}

// bindPod assigns the pod to the node that the Binding names.
func bindPod(o, parameter txn.Object, now time.Time) (txn.Object, error) {
	pod := o.(*corev1.Pod)
	binding, ok := parameter.(*corev1.Binding)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Binding object: %T", parameter))
	}
	if errs := checkBinding(binding); len(errs) > 0 {
		return nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Binding").GroupKind(), binding.Name, errs)
	}
	conflict := func(format string, args ...any) (txn.Object, error) {
		return nil, apierrors.NewConflict(corev1.Resource("pods/binding"), pod.Name, fmt.Errorf(format, args...))
	}
	switch {
	case binding.UID != "" && binding.UID != pod.UID:
		return conflict("Precondition failed: UID in precondition: %v, UID in object meta: %v", binding.UID, pod.UID)
	case binding.ResourceVersion != "" && binding.ResourceVersion != pod.ResourceVersion:
		return conflict("Precondition failed: ResourceVersion in precondition: %v, ResourceVersion in object meta: %v",
			binding.ResourceVersion, pod.ResourceVersion)
	case pod.DeletionTimestamp != nil:
		return conflict("pod %s is being deleted, cannot be assigned to a host", pod.Name)
	case pod.Spec.NodeName != "":
		return conflict("pod %v is already assigned to node %q", pod.Name, pod.Spec.NodeName)
	case len(pod.Spec.SchedulingGates) > 0:
		return conflict("pod %v has non-empty .spec.schedulingGates", pod.Name)
	}
	c := pod.DeepCopy()
	c.Spec.NodeName = binding.Target.Name
	c.Status.NominatedNodeName = ""
	if len(binding.Annotations) > 0 && c.Annotations == nil {
		c.Annotations = map[string]string{}
	}
	for k, v := range binding.Annotations {
		c.Annotations[k] = v
	}
	setPodScheduled(c, now)
	return c, nil
}

func setPodScheduled(o *corev1.Pod, now time.Time) {
	scheduled := corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Time{Time: now},
		ObservedGeneration: o.Generation,
	}
	for i := range o.Status.Conditions {
		if o.Status.Conditions[i].Type == corev1.PodScheduled {
			o.Status.Conditions[i] = scheduled
			return
		}
	}
	o.Status.Conditions = append(o.Status.Conditions, scheduled)
}

// prepareEphemeral takes only the ephemeral containers from what is written.
func prepareEphemeral(o, old *corev1.Pod) {
	written := o.Spec.EphemeralContainers
	restorePod(o, old)
	o.Spec.EphemeralContainers = written
	o.Generation = old.Generation
	if !equality.Semantic.DeepEqual(written, old.Spec.EphemeralContainers) {
		o.Generation++
	}
}

// prepareResize takes only the resources of containers that exist by name.
func prepareResize(o, old *corev1.Pod) {
	spec := o.Spec
	restorePod(o, old)
	o.Spec.Containers = resized(spec.Containers, old.Spec.Containers)
	o.Spec.InitContainers = resized(spec.InitContainers, old.Spec.InitContainers)
	o.Spec.Resources = spec.Resources
	keepPodResources(o, old)
	defaultPodResources(o)
	raiseGeneration(o, old, &o.Spec, &old.Spec)
}

func restorePod(o, old *corev1.Pod) {
	keepMetadata(o, old)
	o.Spec, o.Status = old.Spec, old.Status
}

// resized copies the containers and gives them the written resources; without
// the same names in the same order nothing is taken, and validation objects.
func resized(written, old []corev1.Container) []corev1.Container {
	if len(written) != len(old) {
		return written
	}
	all := make([]corev1.Container, len(old))
	copy(all, old)
	for i := range all {
		if written[i].Name != old[i].Name {
			return written
		}
		all[i].Resources, all[i].ResizePolicy = written[i].Resources, written[i].ResizePolicy
	}
	return all
}
