package nodeagent

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// defaultHandler is the name of the handler that pods have without a class.
const defaultHandler = "runc"

// handler is the runtime's handler for a pod, by its RuntimeClass; empty is the
// default.
func (w *worker) handler(ctx context.Context, pod *corev1.Pod) (string, error) {
	name := pod.Spec.RuntimeClassName
	if name == nil || *name == "" {
		return "", nil
	}
	class := &nodev1.RuntimeClass{}
	if err := w.agent.Client.Get(ctx, client.ObjectKey{Name: *name}, class); err != nil {
		return "", fmt.Errorf("get runtimeclass %q: %w", *name, err)
	}
	switch {
	case class.Handler == defaultHandler:
		return "", nil
	case slices.Contains(w.agent.RuntimeHandlers, class.Handler):
		return class.Handler, nil
	}
	return "", fmt.Errorf("no runtime for %q is configured", class.Handler)
}
