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

	"github.com/headway-sh/headway/nodeagent/eviction"
	"github.com/headway-sh/headway/nodeagent/runtime"
)

const (
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
	if m.SwapTotal > 0 {
		s.NodeInfo.Swap = &corev1.NodeSwapStatus{Capacity: &m.SwapTotal}
	}
	s.Images = imageList(images)
	features(c, &s)
	pressure := map[corev1.NodeConditionType]bool{}
	if c.Conditions != nil {
		pressure = c.Conditions()
	}
	set := func(t corev1.NodeConditionType, is bool, yes, no [2]string) {
		text, status := no, corev1.ConditionFalse
		if is {
			text, status = yes, corev1.ConditionTrue
		}
		setCondition(&s, corev1.NodeCondition{Type: t, Status: status, Reason: text[0], Message: text[1]}, now)
	}
	set(corev1.NodeMemoryPressure, pressure[corev1.NodeMemoryPressure], [2]string{"KubeletHasInsufficientMemory", "kubelet has insufficient memory available"}, [2]string{"KubeletHasSufficientMemory", "kubelet has sufficient memory available"})
	set(corev1.NodeDiskPressure, pressure[corev1.NodeDiskPressure], [2]string{"KubeletHasDiskPressure", "kubelet has disk pressure"}, [2]string{"KubeletHasNoDiskPressure", "kubelet has no disk pressure"})
	set(corev1.NodePIDPressure, pressure[corev1.NodePIDPressure], [2]string{"KubeletHasInsufficientPID", "kubelet has insufficient PID available"}, [2]string{"KubeletHasSufficientPID", "kubelet has sufficient PID available"})
	notReady := "the pod network is not ready"
	if c.Closing != nil && c.Closing() {
		networkReady, notReady = false, "node is shutting down"
	}
	set(corev1.NodeReady, networkReady, [2]string{"KubeletReady", "the node agent is ready"}, [2]string{"KubeletNotReady", notReady})
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
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(m.Disk.Total, resource.BinarySI),
		corev1.ResourcePods:             *resource.NewQuantity(c.MaxPods, resource.DecimalSI),
	}
	for size, pages := range m.HugePages {
		name := corev1.ResourceName(corev1.ResourceHugePagesPrefix + resource.NewQuantity(size, resource.BinarySI).String())
		capacity[name] = *resource.NewQuantity(size*pages, resource.BinarySI)
	}
	for name, q := range old {
		if strings.Contains(string(name), "/") && !strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix) {
			capacity[name] = q
		}
	}
	allocatable = corev1.ResourceList{}
	for name, q := range capacity {
		q = q.DeepCopy()
		q.Sub(c.Reserved[name])
		q.Sub(*resource.NewQuantity(keptFree(c.Thresholds, name, capacity), q.Format))
		if name == corev1.ResourceMemory {
			for size, pages := range m.HugePages {
				q.Sub(*resource.NewQuantity(size*pages, resource.BinarySI)) // nobody else can use them
			}
		}
		if q.Sign() < 0 {
			q = resource.Quantity{}
		}
		allocatable[name] = q
	}
	return capacity, allocatable
}

// keptFree is how much of a resource pods may not ask for, because they would be
// evicted if they used it.
func keptFree(thresholds []eviction.Threshold, name corev1.ResourceName, capacity corev1.ResourceList) int64 {
	signals := map[corev1.ResourceName]eviction.Signal{corev1.ResourceMemory: eviction.MemoryAvailable, corev1.ResourceEphemeralStorage: eviction.NodeAvailable}
	q := capacity[name]
	for _, t := range thresholds {
		if t.Signal == signals[name] && t.Grace == 0 {
			return t.Below.Of(q.Value())
		}
	}
	return 0
}

func addresses(c *Config) []corev1.NodeAddress {
	var all []corev1.NodeAddress
	for _, a := range c.Addresses {
		all = append(all, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a.String()})
	}
	for _, a := range c.External {
		all = append(all, corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: a.String()})
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
