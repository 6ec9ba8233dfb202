package quota

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
)

func serviceName(name corev1.ResourceName) bool {
	return name == corev1.ResourceServices || name == corev1.ResourceServicesNodePorts || name == corev1.ResourceServicesLoadBalancers
}

// serviceUsage counts node ports by what the Service asks for: which ones it
// gets is decided later.
func serviceUsage(o runtime.Object, _ time.Time) corev1.ResourceList {
	s := o.(*corev1.Service)
	ports, balancers := 0, 0
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort:
		ports = len(s.Spec.Ports)
	case corev1.ServiceTypeLoadBalancer:
		balancers = 1
		for _, p := range s.Spec.Ports {
			if p.NodePort != 0 || ptr.Deref(s.Spec.AllocateLoadBalancerNodePorts, true) {
				ports++
			}
		}
	}
	return corev1.ResourceList{
		corev1.ResourceServices: number(1), corev1.ResourceServicesNodePorts: number(ports), corev1.ResourceServicesLoadBalancers: number(balancers),
	}
}

// classSuffix is between a storage class and what is limited of it:
// "gold.storageclass.storage.k8s.io/requests.storage".
const classSuffix = ".storageclass.storage.k8s.io/"

func claimName(name corev1.ResourceName) bool {
	if _, ofClass, ok := strings.Cut(string(name), classSuffix); ok {
		name = corev1.ResourceName(ofClass)
	}
	return name == corev1.ResourcePersistentVolumeClaims || name == corev1.ResourceRequestsStorage
}

func claimUsage(o runtime.Object, _ time.Time) corev1.ResourceList {
	claim := o.(*corev1.PersistentVolumeClaim)
	used := corev1.ResourceList{corev1.ResourcePersistentVolumeClaims: number(1)}
	if size, ok := claim.Spec.Resources.Requests[corev1.ResourceStorage]; ok {
		// While a volume grows, what has been allocated may be more than is
		// asked for by now.
		if has, ok := claim.Status.AllocatedResources[corev1.ResourceStorage]; ok && has.Cmp(size) > 0 {
			size = has
		}
		size = size.DeepCopy()
		size.RoundUp(0)
		used[corev1.ResourceRequestsStorage] = size
	}
	class, ok := claim.Annotations[corev1.BetaStorageClassAnnotation]
	if !ok {
		class = ptr.Deref(claim.Spec.StorageClassName, "")
	}
	if class != "" {
		for _, name := range []corev1.ResourceName{corev1.ResourcePersistentVolumeClaims, corev1.ResourceRequestsStorage} {
			if q, ok := used[name]; ok {
				used[corev1.ResourceName(class+classSuffix)+name] = q
			}
		}
	}
	return used
}

func deviceName(name corev1.ResourceName) bool {
	return strings.HasSuffix(string(name), corev1.ResourceClaimsPerClass)
}

// deviceUsage counts devices by class, in the worst case of what a claim may
// be given.
func deviceUsage(o runtime.Object, _ time.Time) corev1.ResourceList {
	claim := o.(*resourcev1.ResourceClaim)
	used := corev1.ResourceList{}
	for _, request := range claim.Spec.Devices.Requests {
		worst := map[string]int64{}
		note := func(class string, mode resourcev1.DeviceAllocationMode, count int64) {
			if mode == resourcev1.DeviceAllocationModeAll {
				count = resourcev1.AllocationResultsMaxSize
			}
			worst[class] = max(worst[class], count)
		}
		if e := request.Exactly; e != nil {
			note(e.DeviceClassName, e.AllocationMode, e.Count)
		}
		for _, sub := range request.FirstAvailable {
			note(sub.DeviceClassName, sub.AllocationMode, sub.Count)
		}
		for class, n := range worst {
			name := corev1.ResourceName(class + corev1.ResourceClaimsPerClass)
			sum := used[name]
			sum.Add(*resource.NewQuantity(n, resource.DecimalSI))
			used[name] = sum
		}
	}
	return used
}
