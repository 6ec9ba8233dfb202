package kinds

import (
	"strings"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// setDefault fills a field that was left out.
func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// setDefaultPtr fills an optional field that was left out.
func setDefaultPtr[T any](field **T, value T) {
	if *field == nil {
		// A copy, so that only the branch pays for the heap.
		v := value
		*field = &v
	}
}

// defaultPod fills in a pod; pods get a few more defaults than templates do.
func defaultPod(o *corev1.Pod) {
	setDefaultPtr(&o.Spec.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	if o.Spec.HostNetwork {
		for i := range o.Spec.InitContainers {
			defaultHostPorts(o.Spec.InitContainers[i].Ports)
		}
		for i := range o.Spec.Containers {
			defaultHostPorts(o.Spec.Containers[i].Ports)
		}
	}
	for i := range o.Spec.InitContainers {
		defaultRequests(&o.Spec.InitContainers[i].Resources)
	}
	for i := range o.Spec.Containers {
		defaultRequests(&o.Spec.Containers[i].Resources)
	}
	defaultPodSpec(&o.Spec)
}

// defaultPodSpec fills in what pods and pod templates share.
func defaultPodSpec(s *corev1.PodSpec) {
	setDefault(&s.DNSPolicy, corev1.DNSClusterFirst)
	setDefault(&s.RestartPolicy, corev1.RestartPolicyAlways)
	setDefaultPtr(&s.SecurityContext, corev1.PodSecurityContext{})
	setDefaultPtr(&s.TerminationGracePeriodSeconds, int64(corev1.DefaultTerminationGracePeriodSeconds))
	setDefault(&s.SchedulerName, corev1.DefaultSchedulerName)
	// Two names of one field; the old one follows.
	setDefault(&s.ServiceAccountName, s.DeprecatedServiceAccount)
	s.DeprecatedServiceAccount = s.ServiceAccountName
	for i := range s.Volumes {
		defaultVolume(&s.Volumes[i].VolumeSource)
	}
	for i := range s.InitContainers {
		defaultContainer(&s.InitContainers[i])
	}
	for i := range s.Containers {
		defaultContainer(&s.Containers[i])
	}
	for i := range s.EphemeralContainers {
		common := corev1.Container(s.EphemeralContainers[i].EphemeralContainerCommon)
		defaultContainer(&common)
		s.EphemeralContainers[i].EphemeralContainerCommon = corev1.EphemeralContainerCommon(common)
	}
	roundResources(s.Overhead)
	if s.Resources != nil {
		roundResources(s.Resources.Limits)
		roundResources(s.Resources.Requests)
	}
}

func defaultContainer(c *corev1.Container) {
	if c.ImagePullPolicy == "" {
		c.ImagePullPolicy = pullPolicy(c.Image)
	}
	setDefault(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	setDefault(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		setDefault(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil && from.FieldRef != nil {
			setDefault(&from.FieldRef.APIVersion, "v1")
		}
	}
	roundResources(c.Resources.Limits)
	roundResources(c.Resources.Requests)
	defaultProbe(c.LivenessProbe)
	defaultProbe(c.ReadinessProbe)
	defaultProbe(c.StartupProbe)
	if c.Lifecycle != nil {
		if h := c.Lifecycle.PostStart; h != nil {
			defaultHTTPGet(h.HTTPGet)
		}
		if h := c.Lifecycle.PreStop; h != nil {
			defaultHTTPGet(h.HTTPGet)
		}
	}
}

// pullPolicy is Always for images that are, or by having neither tag nor
// digest mean, :latest.
func pullPolicy(image string) corev1.PullPolicy {
	name, _, digested := strings.Cut(image, "@")
	_, tag, tagged := strings.Cut(name[strings.LastIndexByte(name, '/')+1:], ":")
	if tagged && tag != "latest" || digested && !tagged {
		return corev1.PullIfNotPresent
	}
	if _, err := reference.ParseNormalizedNamed(image); err != nil {
		// What names no image has no tag that could move.
		return corev1.PullIfNotPresent
	}
	return corev1.PullAlways
}

func defaultProbe(p *corev1.Probe) {
	if p == nil {
		return
	}
	setDefault(&p.TimeoutSeconds, 1)
	setDefault(&p.PeriodSeconds, 10)
	setDefault(&p.SuccessThreshold, 1)
	setDefault(&p.FailureThreshold, 3)
	defaultHTTPGet(p.HTTPGet)
	if p.GRPC != nil {
		setDefaultPtr(&p.GRPC.Service, "")
	}
}

func defaultHTTPGet(g *corev1.HTTPGetAction) {
	if g != nil {
		setDefault(&g.Path, "/")
		setDefault(&g.Scheme, corev1.URISchemeHTTP)
	}
}

// defaultHostPorts makes a port of a pod in the host's network the host's too.
func defaultHostPorts(ports []corev1.ContainerPort) {
	for i := range ports {
		setDefault(&ports[i].HostPort, ports[i].ContainerPort)
	}
}

// defaultRequests takes requests that were left out from the limits.
func defaultRequests(r *corev1.ResourceRequirements) {
	if r.Limits == nil {
		return
	}
	if r.Requests == nil {
		r.Requests = make(corev1.ResourceList, len(r.Limits))
	}
	for name, q := range r.Limits {
		if _, ok := r.Requests[name]; !ok {
			r.Requests[name] = q.DeepCopy()
		}
	}
}

// roundResources rounds up to thousandths: nothing finer is stored.
func roundResources(list corev1.ResourceList) {
	for name, q := range list {
		if q.RoundUp(resource.Milli) {
			continue
		}
		list[name] = q
	}
}
