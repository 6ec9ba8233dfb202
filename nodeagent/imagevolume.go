package nodeagent

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"
)

// volumePaths are the pod's volumes by name, with the images that a container
// mounts: those are pulled and mounted before its first start, each by its own
// policy, and then stay as they are.
func (w *worker) volumePaths(ctx context.Context, a *attempt) (map[string]string, error) {
	w.sandbox.mu.Lock()
	paths := maps.Clone(w.sandbox.volumes)
	w.sandbox.mu.Unlock()
	for i := range a.pod.Spec.Volumes {
		v := &a.pod.Spec.Volumes[i]
		if v.Image == nil || !mountsVolume(a.spec, v.Name) {
			continue
		}
		path, err := w.imageVolume(ctx, a, v)
		if err != nil {
			return nil, err
		}
		if paths == nil {
			paths = map[string]string{}
		}
		paths[v.Name] = path
	}
	return paths, nil
}

func mountsVolume(c *corev1.Container, name string) bool {
	for i := range c.VolumeMounts {
		if c.VolumeMounts[i].Name == name {
			return true
		}
	}
	return false
}

func (w *worker) imageVolume(ctx context.Context, a *attempt, v *corev1.Volume) (string, error) {
	w.sandbox.mu.Lock()
	path := w.sandbox.imageVolumes[v.Name]
	w.sandbox.mu.Unlock()
	if path != "" {
		return path, nil
	}
	image, err := w.image(ctx, &corev1.Container{Name: a.spec.Name, Image: v.Image.Reference, ImagePullPolicy: v.Image.PullPolicy})
	if err != nil {
		return "", err
	}
	w.runtimeMu.Lock()
	path, err = w.agent.Runtime.MountImage(ctx, string(w.uid), v.Name, image.ID)
	w.runtimeMu.Unlock()
	if err != nil {
		return "", &startFailure{reason: "CreateContainerError", message: err.Error(), event: "FailedMount"}
	}
	w.sandbox.mu.Lock()
	defer w.sandbox.mu.Unlock()
	if w.sandbox.imageVolumes == nil {
		w.sandbox.imageVolumes = map[string]string{}
	}
	w.sandbox.imageVolumes[v.Name] = path
	return path, nil
}
