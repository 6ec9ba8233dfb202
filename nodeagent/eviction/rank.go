package eviction

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/headway-sh/headway/nodeagent/static"
)

// Used is what a pod or a container uses.
type Used struct {
	Memory int64
	// Disk is what was written to roots, logs and emptyDir volumes; Inodes how
	// many files that are.
	Disk, Inodes int64
	Pids         int64
}

func (u Used) of(r corev1.ResourceName) int64 {
	switch r {
	case corev1.ResourceMemory:
		return u.Memory
	case corev1.ResourceEphemeralStorage:
		return u.Disk
	case "inodes":
		return u.Inodes
	}
	return u.Pids
}

// Usage is what a pod uses as a whole, and in its parts.
type Usage struct {
	Used
	Containers map[string]Used
	// Volumes are the emptyDir volumes on disk, by name.
	Volumes map[string]int64
}

// Pod is a pod that may have to go.
type Pod struct {
	*corev1.Pod
	Usage Usage
}

// systemCritical is the priority from which on a pod is never evicted.
const systemCritical = 2_000_000_000

// Critical tells whether the node keeps a pod whatever happens: one of its own
// files, or of a system priority.
func Critical(pod *corev1.Pod) bool {
	return static.Is(pod) || pod.Spec.Priority != nil && *pod.Spec.Priority >= systemCritical
}

// Rank orders pods by who goes first: those that use more than they asked for,
// then lower priority, then by how much more they use. Nobody asks for inodes or
// process numbers: there priority comes first. Critical pods are left out.
func Rank(r corev1.ResourceName, pods []Pod) []Pod {
	type ranked struct {
		Pod
		exceeds  bool
		priority int32
		above    int64
	}
	var all []ranked
	for _, p := range pods {
		if Critical(p.Pod) {
			continue
		}
		one := ranked{Pod: p, above: p.Usage.of(r)}
		if p.Spec.Priority != nil {
			one.priority = *p.Spec.Priority
		}
		if asked, can := requested(r, p.Pod); can {
			one.above -= asked
			one.exceeds = one.above > 0
		}
		all = append(all, one)
	}
	slices.SortStableFunc(all, func(a, b ranked) int {
		if a.exceeds != b.exceeds {
			if a.exceeds {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(b.above, a.above), cmp.Compare(a.UID, b.UID))
	})
	out := make([]Pod, 0, len(all))
	for _, one := range all {
		out = append(out, one.Pod)
	}
	return out
}

func requested(r corev1.ResourceName, pod *corev1.Pod) (int64, bool) {
	if r != corev1.ResourceMemory && r != corev1.ResourceEphemeralStorage {
		return 0, false
	}
	q := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})[r]
	return q.Value(), true
}

// Message is the word for the status of a pod that a threshold takes: the form
// is what tools of Kubernetes read.
func Message(t Threshold, o Observation, p Pod) string {
	r := t.Signal.Resource()
	var text strings.Builder
	fmt.Fprintf(&text, "The node was low on resource: %s. Threshold quantity: %s, available: %s. ", r, amount(r, t.Below.Of(o.Capacity)), amount(r, o.Available))
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		request := c.Resources.Requests[r]
		used, known := p.Usage.Containers[c.Name]
		if _, can := requested(r, p.Pod); known && can && used.of(r) > request.Value() {
			fmt.Fprintf(&text, "Container %s was using %s, request is %s, has larger consumption of %s. ", c.Name, amount(r, used.of(r)), request.String(), r)
		}
	}
	return text.String()
}

// amount writes bytes in Ki, as the messages have them, and counts as they are.
func amount(r corev1.ResourceName, n int64) string {
	if r != corev1.ResourceMemory && r != corev1.ResourceEphemeralStorage {
		return fmt.Sprint(n)
	}
	if n > 1024 {
		n -= n % 1024
	}
	return resource.NewQuantity(n, resource.BinarySI).String()
}

// Limited tells whether a pod may use only so much of the local disk.
func Limited(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		if limited(&pod.Spec.Volumes[i]) {
			return true
		}
	}
	for i := range pod.Spec.Containers {
		if _, ok := pod.Spec.Containers[i].Resources.Limits[corev1.ResourceEphemeralStorage]; ok {
			return true
		}
	}
	return false
}

func limited(v *corev1.Volume) bool {
	e := v.EmptyDir
	return e != nil && e.Medium == corev1.StorageMediumDefault && e.SizeLimit != nil && e.SizeLimit.Sign() > 0
}

// Exceeded tells by which of its own limits of the local disk a pod has to go;
// empty: by none.
func Exceeded(p Pod) string {
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if limited(v) && p.Usage.Volumes[v.Name] > v.EmptyDir.SizeLimit.Value() {
			return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, v.EmptyDir.SizeLimit)
		}
	}
	if limit, ok := resourcehelper.PodLimits(p.Pod, resourcehelper.PodResourcesOptions{})[corev1.ResourceEphemeralStorage]; ok && p.Usage.Disk > limit.Value() {
		return fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", limit.String())
	}
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		if limit, ok := c.Resources.Limits[corev1.ResourceEphemeralStorage]; ok && p.Usage.Containers[c.Name].Disk > limit.Value() {
			return fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", c.Name, limit.String())
		}
	}
	return ""
}
