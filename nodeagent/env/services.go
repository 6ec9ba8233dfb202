package env

import (
	"net"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Services knows the cluster's Services, for the variables that pods get about
// them. Safe for concurrent use.
type Services struct {
	mu  sync.Mutex // guards all
	all map[types.NamespacedName]*corev1.Service
}

// NewServices makes an empty set.
func NewServices() *Services {
	return &Services{all: map[types.NamespacedName]*corev1.Service{}}
}

// Replace takes the whole list.
func (s *Services) Replace(services []*corev1.Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = map[types.NamespacedName]*corev1.Service{}
	for _, o := range services {
		s.all[types.NamespacedName{Namespace: o.Namespace, Name: o.Name}] = o
	}
}

// Set takes one that is new or changed.
func (s *Services) Set(o *corev1.Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[types.NamespacedName{Namespace: o.Namespace, Name: o.Name}] = o
}

// Delete forgets one.
func (s *Services) Delete(o *corev1.Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, types.NamespacedName{Namespace: o.Namespace, Name: o.Name})
}

// Variables are those of a pod: of the API server's Service always, of the
// pod's own namespace if the pod has service links enabled.
func (s *Services) Variables(pod *corev1.Pod) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	links := pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks
	values := map[string]string{}
	for name, o := range s.all {
		api := name == types.NamespacedName{Namespace: "default", Name: "kubernetes"}
		if api || links && name.Namespace == pod.Namespace {
			variables(o, values)
		}
	}
	return values
}

func variables(o *corev1.Service, values map[string]string) {
	ip := o.Spec.ClusterIP
	if ip == "" || ip == corev1.ClusterIPNone || len(o.Spec.Ports) == 0 {
		return
	}
	prefix := strings.ReplaceAll(strings.ToUpper(o.Name), "-", "_")
	port := strconv.Itoa(int(o.Spec.Ports[0].Port))
	values[prefix+"_SERVICE_HOST"] = ip
	values[prefix+"_SERVICE_PORT"] = port
	for i := range o.Spec.Ports {
		p := &o.Spec.Ports[i]
		number := strconv.Itoa(int(p.Port))
		if p.Name != "" {
			values[prefix+"_SERVICE_PORT_"+strings.ReplaceAll(strings.ToUpper(p.Name), "-", "_")] = number
		}
		protocol := string(p.Protocol)
		if protocol == "" {
			protocol = "TCP"
		}
		url := strings.ToLower(protocol) + "://" + net.JoinHostPort(ip, number)
		if i == 0 {
			values[prefix+"_PORT"] = url
		}
		at := prefix + "_PORT_" + number + "_" + protocol
		values[at] = url
		values[at+"_PROTO"] = strings.ToLower(protocol)
		values[at+"_PORT"] = number
		values[at+"_ADDR"] = ip
	}
}
