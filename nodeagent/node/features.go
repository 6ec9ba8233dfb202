package node

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// features says in the Node's status which handlers its runtime has and what
// they can do.
func features(c *Config, s *corev1.NodeStatus) {
	s.Features = &corev1.NodeFeatures{SupplementalGroupsPolicy: ptr.To(true)}
	s.RuntimeHandlers = nil
	for _, name := range append([]string{"", "runc"}, slices.Sorted(slices.Values(c.RuntimeHandlers))...) {
		s.RuntimeHandlers = append(s.RuntimeHandlers, corev1.NodeRuntimeHandler{Name: name,
			Features: &corev1.NodeRuntimeHandlerFeatures{RecursiveReadOnlyMounts: ptr.To(true), UserNamespaces: ptr.To(false)}})
	}
}
