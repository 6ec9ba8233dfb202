package main

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
)

// TestAgentsKnowTheirKinds: an agent asks for these without discovery.
func TestAgentsKnowTheirKinds(t *testing.T) {
	t.Parallel()
	for kind, scope := range map[string]meta.RESTScopeName{
		"Pod": meta.RESTScopeNameNamespace, "PersistentVolumeClaim": meta.RESTScopeNameNamespace,
		"PersistentVolume": meta.RESTScopeNameRoot, "Node": meta.RESTScopeNameRoot,
	} {
		gvk := corev1.SchemeGroupVersion.WithKind(kind)
		m, err := nodeMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
		if err != nil || m.Scope.Name() != scope {
			t.Errorf("%s: %v, %v", kind, m, err)
		}
	}
}
