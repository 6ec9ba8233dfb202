package env

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Facts are what a pod's fields can be asked about (Kubernetes API reference,
// "Downward API").
type Facts struct {
	Pod      *corev1.Pod
	NodeName string
	// HostIPs and PodIPs, the main one first.
	HostIPs, PodIPs []string
	// Allocatable stands in for limits that are not set; may be nil.
	Allocatable corev1.ResourceList
}

// Field gives the value of a field path such as metadata.labels['app'].
func (f Facts) Field(path string) (string, error) {
	if value, ok, err := f.keyed(path); ok || err != nil {
		return value, err
	}
	switch path {
	case "metadata.name":
		return f.Pod.Name, nil
	case "metadata.namespace":
		return f.Pod.Namespace, nil
	case "metadata.uid":
		return string(f.Pod.UID), nil
	case "metadata.labels":
		return lines(f.Pod.Labels), nil
	case "metadata.annotations":
		return lines(f.Pod.Annotations), nil
	case "spec.nodeName":
		return f.NodeName, nil
	case "spec.serviceAccountName":
		return f.Pod.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return first(f.HostIPs), nil
	case "status.hostIPs":
		return strings.Join(f.HostIPs, ","), nil
	case "status.podIP":
		return first(f.PodIPs), nil
	case "status.podIPs":
		return strings.Join(f.PodIPs, ","), nil
	}
	return "", fmt.Errorf("field %q is not supported", path)
}

// keyed reads metadata.labels['key'] and metadata.annotations['key'].
func (f Facts) keyed(path string) (value string, ok bool, err error) {
	name, rest, ok := strings.Cut(path, "['")
	if !ok {
		return "", false, nil
	}
	key, end := strings.CutSuffix(rest, "']")
	switch {
	case !end:
	case name == "metadata.labels":
		return f.Pod.Labels[key], true, nil
	case name == "metadata.annotations":
		return f.Pod.Annotations[key], true, nil
	}
	return "", false, fmt.Errorf("field %q is not supported", path)
}

func first(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return all[0]
}

func lines(m map[string]string) string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		all = append(all, k+"="+strconv.Quote(m[k]))
	}
	return strings.Join(all, "\n")
}

// Resource gives the value of a container's resource field, in units of its
// divisor, rounded up. container is the default of the selector's.
func (f Facts) Resource(s *corev1.ResourceFieldSelector, container string) (string, error) {
	if s.ContainerName != "" {
		container = s.ContainerName
	}
	c := f.container(container)
	if c == nil {
		return "", fmt.Errorf("container %q does not exist", container)
	}
	list, name, ok := strings.Cut(s.Resource, ".")
	if !ok {
		return "", fmt.Errorf("resource field %q is not supported", s.Resource)
	}
	var quantity resource.Quantity
	key := corev1.ResourceName(name)
	switch list {
	case "limits":
		q, set := c.Resources.Limits[key]
		if !set || q.IsZero() {
			q = f.Allocatable[key]
		}
		quantity = q
	case "requests":
		quantity = c.Resources.Requests[key]
	default:
		return "", fmt.Errorf("resource field %q is not supported", s.Resource)
	}
	return divided(quantity, s.Divisor, key == corev1.ResourceCPU), nil
}

func (f Facts) container(name string) *corev1.Container {
	for _, list := range [][]corev1.Container{f.Pod.Spec.Containers, f.Pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

func divided(q, divisor resource.Quantity, milli bool) string {
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	value, by := q.Value(), divisor.Value()
	if milli {
		value, by = q.MilliValue(), divisor.MilliValue()
	}
	return strconv.FormatInt(int64(math.Ceil(float64(value)/float64(by))), 10)
}
