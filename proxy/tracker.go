package proxy

import (
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// tracker holds the newest Services and EndpointSlices and which Services have
// changed since the last take. Objects are shared and not changed.
type tracker struct {
	mu       sync.Mutex // guards what follows
	services map[types.NamespacedName]*corev1.Service
	slices   map[types.NamespacedName]map[string]*discoveryv1.EndpointSlice // by service, then by slice name
	changed  map[types.NamespacedName]bool
	wake     chan struct{} // holds one element when something has changed
}

func newTracker() *tracker {
	return &tracker{
		services: map[types.NamespacedName]*corev1.Service{},
		slices:   map[types.NamespacedName]map[string]*discoveryv1.EndpointSlice{},
		changed:  map[types.NamespacedName]bool{},
		wake:     make(chan struct{}, 1),
	}
}

// service records a Service's state; nil: it is gone.
func (t *tracker) service(key types.NamespacedName, s *corev1.Service) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s == nil {
		delete(t.services, key)
	} else {
		t.services[key] = s
	}
	t.mark(key)
}

// endpointSlice records a slice's state under the service it names.
func (t *tracker) endpointSlice(s *discoveryv1.EndpointSlice, gone bool) {
	name := s.Labels[discoveryv1.LabelServiceName]
	if name == "" {
		return
	}
	key := types.NamespacedName{Namespace: s.Namespace, Name: name}
	t.mu.Lock()
	defer t.mu.Unlock()
	if gone {
		delete(t.slices[key], s.Name)
		if len(t.slices[key]) == 0 {
			delete(t.slices, key)
		}
	} else {
		if t.slices[key] == nil {
			t.slices[key] = map[string]*discoveryv1.EndpointSlice{}
		}
		t.slices[key][s.Name] = s
	}
	t.mark(key)
}

func (t *tracker) mark(key types.NamespacedName) {
	t.changed[key] = true
	t.nudge()
}

// markAll notes that every Service is to be looked at again.
func (t *tracker) markAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key := range t.services {
		t.mark(key)
	}
}

// nudge wakes the reader of wake, once for any number of nudges.
func (t *tracker) nudge() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// change is the newest state of a Service that has changed.
type change struct {
	key     types.NamespacedName
	service *corev1.Service // nil: gone
	slices  []*discoveryv1.EndpointSlice
}

// take returns what has changed since the last take.
func (t *tracker) take() []change {
	t.mu.Lock()
	defer t.mu.Unlock()
	changes := make([]change, 0, len(t.changed))
	for key := range t.changed {
		c := change{key: key, service: t.services[key]}
		for _, name := range slices.Sorted(maps.Keys(t.slices[key])) {
			c.slices = append(c.slices, t.slices[key][name])
		}
		changes = append(changes, c)
	}
	clear(t.changed)
	return changes
}
