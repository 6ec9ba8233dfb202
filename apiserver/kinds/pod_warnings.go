package kinds

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	netutils "k8s.io/utils/net"
)

// podWarner collects what a pod has that is allowed and does not do what it
// seems to.
type podWarner struct{ all []string }

func (w *podWarner) warn(p *path, format string, args ...any) {
	w.all = append(w.all, p.String()+": "+fmt.Sprintf(format, args...))
}

func podWarnings(o, old *corev1.Pod) []string {
	all := warningsOf(nil, &o.Spec, &o.ObjectMeta)
	if wrong := validation.IsDNS1123Label(o.Name); old == nil && o.Name != "" && len(wrong) > 0 {
		all = append(all, fmt.Sprintf("metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: %v", wrong))
	}
	return all
}

// templateWarnings are podWarnings of a workload's template, which is at p.
func templateWarnings(p *path, t *corev1.PodTemplateSpec) []string {
	return warningsOf(p, &t.Spec, &t.ObjectMeta)
}

// workloadWarnings are templateWarnings, and of the name of a new workload that
// its pods' names begin with.
func workloadWarnings(o, old metav1.Object, p *path, t *corev1.PodTemplateSpec) []string {
	all := templateWarnings(p, t)
	if wrong := validation.IsDNS1123Label(o.GetName()); old == nil && o.GetName() != "" && len(wrong) > 0 {
		all = append(all, fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: %v", wrong))
	}
	return all
}

// warningsOf tells of the pod whose spec and metadata are below p; nil is the
// root.
func warningsOf(p *path, s *corev1.PodSpec, meta *metav1.ObjectMeta) []string {
	w := &podWarner{}
	spec := p.Child("spec")
	w.scheduling(spec, s)
	if len(meta.Annotations) > 0 {
		w.annotations(p.Child("metadata", "annotations"), s, meta.Annotations)
	}
	for i := range s.Volumes {
		w.volume(spec, i, &s.Volumes[i])
	}
	w.addresses(spec, s)
	if len(s.ImagePullSecrets) > 0 {
		w.secrets(spec.Child("imagePullSecrets"), s.ImagePullSecrets)
	}
	w.fractions(spec, s.Overhead, "overhead")
	if deref(s.TerminationGracePeriodSeconds, 0) < 0 {
		w.warn(spec.Child("terminationGracePeriodSeconds"), "must be >= 0; negative values are invalid and will be treated as 1")
	}
	eachContainer(spec, s, func(at *path, c *corev1.Container) {
		w.fractions(at, c.Resources.Limits, "resources", "limits")
		w.fractions(at, c.Resources.Requests, "resources", "requests")
		w.environment(at, c.Env)
	})
	w.ports(spec, s)
	return w.all
}

const (
	seccompPod       = "seccomp.security.alpha.kubernetes.io/pod"
	seccompContainer = "container.seccomp.security.alpha.kubernetes.io/"
)

// deadAnnotations are of the time before there were fields.
var deadAnnotations = map[string]string{
	"scheduler.alpha.kubernetes.io/critical-pod":  `non-functional in v1.16+; use the "priorityClassName" field instead`,
	"security.alpha.kubernetes.io/sysctls":        `non-functional in v1.11+; use the "sysctls" field instead`,
	"security.alpha.kubernetes.io/unsafe-sysctls": `non-functional in v1.11+; use the "sysctls" field instead`,
}

// oldNodeLabels are labels that nodes have under other names by now.
var oldNodeLabels = map[string]string{
	"beta.kubernetes.io/arch":                       `deprecated since v1.14; use "kubernetes.io/arch" instead`,
	"beta.kubernetes.io/os":                         `deprecated since v1.14; use "kubernetes.io/os" instead`,
	"failure-domain.beta.kubernetes.io/region":      `deprecated since v1.17; use "topology.kubernetes.io/region" instead`,
	"failure-domain.beta.kubernetes.io/zone":        `deprecated since v1.17; use "topology.kubernetes.io/zone" instead`,
	"beta.kubernetes.io/instance-type":              `deprecated since v1.17; use "node.kubernetes.io/instance-type" instead`,
	"app.kubernetes.io/created-by":                  "deprecated since v1.9",
	"scheduler.alpha.kubernetes.io/preferAvoidPods": "deprecated since v1.22; use Taints and Tolerations instead",
	"node-role.kubernetes.io/master":                `use "node-role.kubernetes.io/control-plane" instead`,
}

func (w *podWarner) annotations(p *path, s *corev1.PodSpec, all map[string]string) {
	for name, why := range deadAnnotations {
		if _, ok := all[name]; ok {
			w.warn(p.Key(name), "%s", why)
		}
	}
	seccomp := func(name string, field bool) {
		if _, ok := all[name]; ok && !field {
			w.warn(p.Key(name), `non-functional in v1.27+; use the "seccompProfile" field instead`)
		}
	}
	seccomp(seccompPod, s.SecurityContext != nil && s.SecurityContext.SeccompProfile != nil)
	visitContainers(s, func(c *corev1.Container) {
		seccomp(seccompContainer+c.Name, c.SecurityContext != nil && c.SecurityContext.SeccompProfile != nil)
	})
}

const matchesNothing = "a null labelSelector results in matching no pod"

func (w *podWarner) scheduling(p *path, s *corev1.PodSpec) {
	for k := range s.NodeSelector {
		if why, old := oldNodeLabels[k]; old {
			w.warn(p.Child("nodeSelector").Key(k), "%s", why)
		}
	}
	for i := range s.TopologySpreadConstraints {
		t, at := &s.TopologySpreadConstraints[i], p.Child("topologySpreadConstraints").Index(i)
		if why, old := oldNodeLabels[t.TopologyKey]; old {
			w.warn(at.Child("topologyKey"), "%s is %s", t.TopologyKey, why)
		}
		if t.LabelSelector == nil {
			w.warn(at.Child("labelSelector"), matchesNothing)
		}
	}
	if s.Affinity == nil {
		return
	}
	at := p.Child("affinity")
	if n := s.Affinity.NodeAffinity; n != nil {
		if r := n.RequiredDuringSchedulingIgnoredDuringExecution; r != nil {
			for i := range r.NodeSelectorTerms {
				w.nodeTerm(at.Child("nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms").Index(i), &r.NodeSelectorTerms[i], false)
			}
		}
		for i := range n.PreferredDuringSchedulingIgnoredDuringExecution {
			w.nodeTerm(at.Child("nodeAffinity", "preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("preference"),
				&n.PreferredDuringSchedulingIgnoredDuringExecution[i].Preference, true)
		}
	}
	if a := s.Affinity.PodAffinity; a != nil {
		w.podTerms(at.Child("podAffinity"), a.RequiredDuringSchedulingIgnoredDuringExecution, a.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if a := s.Affinity.PodAntiAffinity; a != nil {
		w.podTerms(at.Child("podAntiAffinity"), a.RequiredDuringSchedulingIgnoredDuringExecution, a.PreferredDuringSchedulingIgnoredDuringExecution)
	}
}

// nodeTerm tells of labels by their old names and, in what is only preferred,
// of values that no label has.
func (w *podWarner) nodeTerm(p *path, t *corev1.NodeSelectorTerm, preferred bool) {
	for i, e := range t.MatchExpressions {
		at := p.Child("matchExpressions").Index(i)
		if why, old := oldNodeLabels[e.Key]; old {
			w.warn(at.Child("key"), "%s is %s", e.Key, why)
		}
		for j, v := range e.Values {
			if !preferred {
				break
			}
			for _, m := range validation.IsValidLabelValue(v) {
				w.warn(at.Child("values").Index(j), "%s is invalid, %s", v, m)
			}
		}
	}
}

func (w *podWarner) podTerms(p *path, required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
	for i := range required {
		if required[i].LabelSelector == nil {
			w.warn(p.Child("requiredDuringSchedulingIgnoredDuringExecution").Index(i).Child("labelSelector"), matchesNothing)
		}
	}
	for i := range preferred {
		if preferred[i].PodAffinityTerm.LabelSelector == nil {
			w.warn(p.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("podAffinityTerm", "labelSelector"), matchesNothing)
		}
	}
}

// volume tells of a pod's i-th volume that is of a kind that nobody brings any
// more.
func (w *podWarner) volume(spec *path, i int, v *corev1.Volume) {
	for _, dead := range [...]struct {
		set       bool
		name, why string
	}{
		{v.PhotonPersistentDisk != nil, "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"},
		{v.GitRepo != nil, "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"},
		{v.ScaleIO != nil, "scaleIO", "deprecated in v1.16, non-functional in v1.22+"},
		{v.Flocker != nil, "flocker", "deprecated in v1.22, non-functional in v1.25+"},
		{v.StorageOS != nil, "storageOS", "deprecated in v1.22, non-functional in v1.25+"},
		{v.Quobyte != nil, "quobyte", "deprecated in v1.22, non-functional in v1.25+"},
		{v.Glusterfs != nil, "glusterfs", "deprecated in v1.25, non-functional in v1.26+"},
		{v.CephFS != nil, "cephfs", "deprecated in v1.28, non-functional in v1.31+"},
		{v.RBD != nil, "rbd", "deprecated in v1.28, non-functional in v1.31+"},
	} {
		if dead.set {
			w.warn(spec.Child("volumes").Index(i).Child(dead.name), "%s", dead.why)
		}
	}
	if v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil {
		w.claim(spec.Child("volumes").Index(i).Child("ephemeral", "volumeClaimTemplate", "spec"), &v.Ephemeral.VolumeClaimTemplate.Spec)
	}
}

// claim tells of parts of bytes that a claim asks for.
func (w *podWarner) claim(p *path, s *corev1.PersistentVolumeClaimSpec) {
	for name, list := range map[string]corev1.ResourceList{"requests": s.Resources.Requests, "limits": s.Resources.Limits} {
		if q, ok := list[corev1.ResourceStorage]; ok && q.MilliValue()%1000 != 0 {
			w.warn(p.Child("resources").Child(name).Key("storage"), "fractional byte value %q is invalid, must be an integer", q.String())
		}
	}
}

// addresses tells of those that are given twice or written in an unusual way.
func (w *podWarner) addresses(p *path, s *corev1.PodSpec) {
	one := func(at *path, ip string) {
		if netutils.ParseIPSloppy(ip) != nil {
			w.all = append(w.all, validation.GetWarningsForIP(at, ip)...)
		}
	}
	var seen nameSet
	for i, a := range s.HostAliases {
		at := p.Child("hostAliases").Index(i).Child("ip")
		if !seen.add(a.IP) {
			w.warn(at, "duplicate ip %q", a.IP)
		}
		one(at, a.IP)
	}
	if s.DNSConfig != nil {
		for i, ip := range s.DNSConfig.Nameservers {
			one(p.Child("dnsConfig", "nameservers").Index(i), ip)
		}
	}
}

func (w *podWarner) secrets(p *path, secrets []corev1.LocalObjectReference) {
	var seen nameSet
	for i, s := range secrets {
		at := p.Index(i).Child("name")
		if !seen.add(s.Name) {
			w.warn(at, "duplicate name %q", s.Name)
		}
		if s.Name == "" {
			w.warn(at, "invalid empty name %q", s.Name)
		}
	}
}

// fractions tells of parts of bytes in a list that is at the names below p.
func (w *podWarner) fractions(p *path, list corev1.ResourceList, names ...string) {
	for _, name := range [...]corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if q, ok := list[name]; ok && q.MilliValue()%1000 != 0 {
			w.warn(p.Child(names[0], names[1:]...).Key(string(name)), "fractional byte value %q is invalid, must be an integer", q.String())
		}
	}
}
