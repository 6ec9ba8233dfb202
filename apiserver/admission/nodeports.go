package admission

import (
	"fmt"
	"math/big"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/write"
)

// RangeKind is the row of the records of taken node ports. They belong to the
// store and the write path and are served to nobody.
func RangeKind() *kind.Kind {
	return &kind.Kind{
		GVK: corev1.SchemeGroupVersion.WithKind("RangeAllocation"), Plural: "rangeallocations", Singular: "rangeallocation",
		StoragePrefix: "ranges", Verbs: []string{},
		New:     func() txn.Object { return &corev1.RangeAllocation{} },
		NewList: func() runtime.Object { return nil },
	}
}

var nodePorts = txn.Ref{Resource: corev1.Resource("rangeallocations"), Name: "servicenodeports"}

type portRange struct{ first, last int32 }

func (p portRange) String() string { return fmt.Sprintf("%d-%d", p.first, p.last) }

// portUse is the set of taken ports as one request sees and changes it.
type portUse struct {
	portRange
	bits    *big.Int
	record  *corev1.RangeAllocation // nil when there is none yet
	changed bool
}

func (p portRange) open(view txn.View) *portUse {
	u := &portUse{portRange: p, bits: new(big.Int)}
	if o, ok := view.Get(nodePorts); ok {
		u.record = o.(*corev1.RangeAllocation)
		u.bits.SetBytes(u.record.Data)
	}
	return u
}

func (u *portUse) taken(port int32) bool { return u.bits.Bit(int(port-u.first)) == 1 }

func (u *portUse) set(port int32, taken bool) {
	if port < u.first || port > u.last || u.taken(port) == taken {
		return
	}
	u.bits.SetBit(u.bits, int(port-u.first), map[bool]uint{true: 1}[taken])
	u.changed = true
}

// close writes the set along with the request when it has changed.
func (u *portUse) close(r *write.Request) {
	if !u.changed {
		return
	}
	record := &corev1.RangeAllocation{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "RangeAllocation"},
		ObjectMeta: metav1.ObjectMeta{Name: nodePorts.Name, CreationTimestamp: metav1.Time{Time: r.Now.UTC().Truncate(1e9)}},
	}
	if u.record != nil {
		record = u.record.DeepCopy()
	}
	record.Range, record.Data = u.String(), u.bits.Bytes()
	r.Also(nodePorts, record)
}

// hasNodePorts tells whether a Service of this type is reached on every node.
func hasNodePorts(s *corev1.Service) bool {
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort:
		return true
	case corev1.ServiceTypeLoadBalancer:
		return ptr.Deref(s.Spec.AllocateLoadBalancerNodePorts, true)
	}
	return false
}

// mayHaveNodePorts tells whether ports that were asked for may stay.
func mayHaveNodePorts(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeLoadBalancer
}

func checksHealth(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// keepPorts lets an update leave out node ports that were allocated.
func keepPorts(s, old *corev1.Service) {
	if hasNodePorts(s) && hasNodePorts(old) {
		used := portsOf(s)
		for i := range s.Spec.Ports {
			port := &s.Spec.Ports[i]
			for _, before := range old.Spec.Ports {
				if port.NodePort == 0 && before.Port == port.Port && before.Protocol == port.Protocol && !used[before.NodePort] {
					port.NodePort = before.NodePort
				}
			}
		}
	}
	if checksHealth(s) && checksHealth(old) && s.Spec.HealthCheckNodePort == 0 {
		s.Spec.HealthCheckNodePort = old.Spec.HealthCheckNodePort
	}
}

// portsOf are the node ports that a Service has.
func portsOf(s *corev1.Service) map[int32]bool {
	ports := map[int32]bool{}
	if mayHaveNodePorts(s) {
		for _, p := range s.Spec.Ports {
			ports[p.NodePort] = true
		}
	}
	if checksHealth(s) {
		ports[s.Spec.HealthCheckNodePort] = true
	}
	delete(ports, 0)
	return ports
}

// settle brings the taken ports in line with a Service.
func (p portRange) settle(view txn.View, r *write.Request, s, old *corev1.Service) field.ErrorList {
	if s.Spec.Type == corev1.ServiceTypeClusterIP && mayHaveNodePorts(old) {
		dropPorts(s, old)
	}
	had := portsOf(old)
	if len(had) == 0 && !mayHaveNodePorts(s) {
		return nil
	}
	use := p.open(view)
	var errs field.ErrorList
	for i := range s.Spec.Ports {
		at := field.NewPath("spec", "ports").Index(i).Child("nodePort")
		if port := s.Spec.Ports[i].NodePort; port != 0 && mayHaveNodePorts(s) && !had[port] && !earlier(s, i) {
			errs = append(errs, use.take(at, port)...)
		}
	}
	if port := s.Spec.HealthCheckNodePort; checksHealth(s) && port != 0 && !had[port] {
		errs = append(errs, use.take(field.NewPath("spec", "healthCheckNodePort"), port)...)
	}
	for i := range s.Spec.Ports {
		if port := &s.Spec.Ports[i]; hasNodePorts(s) && port.NodePort == 0 {
			errs = append(errs, use.find(field.NewPath("spec", "ports").Index(i).Child("nodePort"), s, &port.NodePort)...)
		}
	}
	if checksHealth(s) && s.Spec.HealthCheckNodePort == 0 {
		errs = append(errs, use.find(field.NewPath("spec", "healthCheckNodePort"), s, &s.Spec.HealthCheckNodePort)...)
	}
	has := portsOf(s)
	for port := range had {
		if !has[port] {
			use.set(port, false)
		}
	}
	use.close(r)
	return errs
}

// dropPorts clears node ports that only came along from the old object.
func dropPorts(s, old *corev1.Service) {
	had := portsOf(old)
	for i := range s.Spec.Ports {
		if had[s.Spec.Ports[i].NodePort] {
			s.Spec.Ports[i].NodePort = 0
		}
	}
}

// earlier tells whether a port before this one has the same node port: one
// Service may use it for several protocols.
func earlier(s *corev1.Service, i int) bool {
	for _, p := range s.Spec.Ports[:i] {
		if p.NodePort == s.Spec.Ports[i].NodePort && p.Protocol != s.Spec.Ports[i].Protocol {
			return true
		}
	}
	return false
}

func (u *portUse) take(at *field.Path, port int32) field.ErrorList {
	switch {
	case port < u.first || port > u.last:
		return field.ErrorList{field.Invalid(at, port, fmt.Sprintf("provided port is not in the valid range. The range of valid ports is %s", u))}
	case u.taken(port):
		return field.ErrorList{field.Invalid(at, port, "provided port is already allocated")}
	}
	u.set(port, true)
	return nil
}

func (u *portUse) find(at *field.Path, s *corev1.Service, port *int32) field.ErrorList {
	offset, ok := search(uint32(u.last-u.first+1), at.String()+string(s.UID), func(offset uint32) bool { return !u.taken(u.first + int32(offset)) })
	if !ok {
		return field.ErrorList{field.InternalError(at, fmt.Errorf("failed to allocate a nodePort: range is full"))}
	}
	*port = u.first + int32(offset)
	u.set(*port, true)
	return nil
}
