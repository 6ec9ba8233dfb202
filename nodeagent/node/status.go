package node

import (
	"cmp"
	goruntime "runtime"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

const (
	// Below these a node is under pressure; it has to get a tenth better
	// before it is not any more.
	memoryFloor = 100 << 20
	diskFloor   = 10 // percent
	pidsFloor   = 5  // percent
	// maxImages is how many images a Node lists.
	maxImages = 50
)

// statusOf is what the Node's status is: a function of what was read. old is
// the status so far, for times and for what others have written.
func statusOf(c *Config, m Machine, images []runtime.Image, networkReady bool, old *corev1.NodeStatus, now time.Time) corev1.NodeStatus {
	s := *old.DeepCopy()
	s.Capacity, s.Allocatable = resources(c, m, old.Capacity)
	s.Addresses = addresses(c)
	s.DaemonEndpoints.KubeletEndpoint.Port = c.Port
	s.NodeInfo = corev1.NodeSystemInfo{
		MachineID: m.MachineID, SystemUUID: m.SystemUUID, BootID: m.BootID, KernelVersion: m.Kernel, OSImage: m.OSImage,
		ContainerRuntimeVersion: c.RuntimeVersion, KubeletVersion: c.Version, OperatingSystem: goruntime.GOOS, Architecture: goruntime.GOARCH,
	}
	s.Images = imageList(images)
	features(c, &s)
	was := func(t corev1.NodeConditionType) bool {
		return slices.ContainsFunc(old.Conditions, func(o corev1.NodeCondition) bool {
			return o.Type == t && o.Status == corev1.ConditionTrue
		})
	}
	low := func(t corev1.NodeConditionType, have, floor int64) bool {
		if was(t) {
			floor += floor / 10
		}
		return have < floor
	}
	memory := low(corev1.NodeMemoryPressure, m.MemoryAvailable, memoryFloor)
	disk := low(corev1.NodeDiskPressure, m.DiskAvailable, m.DiskTotal/100*diskFloor)
	pids := low(corev1.NodePIDPressure, m.PidsMax-m.Pids, m.PidsMax*pidsFloor/100)
	set := func(t corev1.NodeConditionType, is bool, yes, no [2]string) {
		text, status := no, corev1.ConditionFalse
		if is {
			text, status = yes, corev1.ConditionTrue
		}
		setCondition(&s, corev1.NodeCondition{Type: t, Status: status, Reason: text[0], Message: text[1]}, now)
	}
	set(corev1.NodeMemoryPressure, memory, [2]string{"KubeletHasInsufficientMemory", "kubelet has insufficient memory available"}, [2]string{"KubeletHasSufficientMemory", "kubelet has sufficient memory available"})
	set(corev1.NodeDiskPressure, disk, [2]string{"KubeletHasDiskPressure", "kubelet has disk pressure"}, [2]string{"KubeletHasNoDiskPressure", "kubelet has no disk pressure"})
	set(corev1.NodePIDPressure, pids, [2]string{"KubeletHasInsufficientPID", "kubelet has insufficient PID available"}, [2]string{"KubeletHasSufficientPID", "kubelet has sufficient PID available"})
	set(corev1.NodeReady, networkReady, [2]string{"KubeletReady", "the node agent is ready"}, [2]string{"KubeletNotReady", "the pod network is not ready"})
	return s
}

func setCondition(s *corev1.NodeStatus, c corev1.NodeCondition, now time.Time) {
	at := metav1.NewTime(now.Truncate(time.Second))
	for i := range s.Conditions {
		old := &s.Conditions[i]
		if old.Type != c.Type {
			continue
		}
		if old.Status == c.Status && old.Reason == c.Reason && old.Message == c.Message {
			return // its times stay: nothing is written for them alone
		}
		c.LastHeartbeatTime, c.LastTransitionTime = at, at
		if old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		*old = c
		return
	}
	c.LastHeartbeatTime, c.LastTransitionTime = at, at
	s.Conditions = append(s.Conditions, c)
}

// resources are what the machine has. Extended resources, which others write
// into the Node's capacity, stay and can be asked for.
func resources(c *Config, m Machine, old corev1.ResourceList) (capacity, allocatable corev1.ResourceList) {
	capacity = corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(int64(m.CPUs), resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(m.MemoryTotal, resource.BinarySI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(m.DiskTotal, resource.BinarySI),
		corev1.ResourcePods:             *resource.NewQuantity(c.MaxPods, resource.DecimalSI),
	}
	for name, q := range old {
		if strings.Contains(string(name), "/") && !strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix) {
			capacity[name] = q
		}
	}
	allocatable = corev1.ResourceList{}
	for name, q := range capacity {
		q = q.DeepCopy()
		if kept, ok := c.Reserved[name]; ok {
			q.Sub(kept)
			if q.Sign() < 0 {
				q = resource.Quantity{}
			}
		}
		allocatable[name] = q
	}
	return capacity, allocatable
}

func addresses(c *Config) []corev1.NodeAddress {
	var all []corev1.NodeAddress
	for _, a := range c.Addresses {
		all = append(all, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a.String()})
	}
	return append(all, corev1.NodeAddress{Type: corev1.NodeHostName, Address: c.Name})
}

func imageList(images []runtime.Image) []corev1.ContainerImage {
	var all []corev1.ContainerImage
	for _, i := range images {
		if len(i.References) > 0 {
			all = append(all, corev1.ContainerImage{Names: i.References, SizeBytes: i.Size})
		}
	}
	slices.SortFunc(all, func(a, b corev1.ContainerImage) int {
		return cmp.Or(cmp.Compare(b.SizeBytes, a.SizeBytes), cmp.Compare(a.Names[0], b.Names[0]))
	})
	return all[:min(len(all), maxImages)]
}
