package nodeagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

// upImages looks for the pod's images, so that containers find them at once.
// One that is missing is no error here.
func (w *worker) upImages(ctx context.Context) error {
	pod := w.current()
	images := map[string]runtime.Image{}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if ref := list[i].Image; list[i].ImagePullPolicy != corev1.PullAlways {
				if image, err := w.agent.Runtime.Image(ctx, ref); err == nil {
					images[ref] = image
				}
			}
		}
	}
	w.sandbox.mu.Lock()
	w.sandbox.images = images
	w.sandbox.mu.Unlock()
	return nil
}

// image gives a container's image, pulled if its policy says so.
func (w *worker) image(ctx context.Context, c *corev1.Container) (runtime.Image, error) {
	if c.ImagePullPolicy != corev1.PullAlways {
		w.sandbox.mu.Lock()
		image, ok := w.sandbox.images[c.Image]
		delete(w.sandbox.images, c.Image) // true for the first start only
		w.sandbox.mu.Unlock()
		var err error
		if !ok {
			image, err = w.agent.Runtime.Image(ctx, c.Image)
		}
		if err == nil {
			w.event1(c.Name, corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine", c.Image))
			return image, nil
		}
		if !errors.Is(err, runtime.ErrImageNotFound) {
			w.event1(c.Name, corev1.EventTypeWarning, "InspectFailed", fmt.Sprintf("Failed to inspect image %q: %v", c.Image, err))
			return runtime.Image{}, &startFailure{reason: "ImageInspectError", message: fmt.Sprintf("Failed to inspect image %q: %v", c.Image, err), again: true}
		}
		if c.ImagePullPolicy == corev1.PullNever {
			message := fmt.Sprintf("Container image %q is not present with pull policy of Never", c.Image)
			w.event1(c.Name, corev1.EventTypeWarning, "ErrImageNeverPull", message)
			return runtime.Image{}, &startFailure{reason: "ErrImageNeverPull", message: message, again: true}
		}
	}
	return w.pull(ctx, c)
}

func (w *worker) pull(ctx context.Context, c *corev1.Container) (runtime.Image, error) {
	w.event1(c.Name, corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", c.Image))
	start := w.agent.Clock.Now()
	image, err := w.agent.Runtime.Pull(ctx, c.Image, w.credentials(ctx, c.Image))
	if err != nil {
		w.event1(c.Name, corev1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: %v", c.Image, err))
		return runtime.Image{}, &startFailure{reason: "ErrImagePull", image: c.Image, message: err.Error(), again: true}
	}
	w.event1(c.Name, corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Successfully pulled image %q in %v (%[2]v including waiting). Image size: %d bytes.",
		c.Image, w.agent.Clock.Since(start).Truncate(time.Millisecond), image.Size))
	return image, nil
}

// credentials finds the registry's among the pod's pull secrets; nil if none.
func (w *worker) credentials(ctx context.Context, ref string) *runtime.Credentials {
	pod := w.current()
	for _, s := range pod.Spec.ImagePullSecrets {
		secret, err := source{w.agent, pod}.Secret(ctx, s.Name)
		if err != nil {
			w.event1("", corev1.EventTypeWarning, "FailedToRetrieveImagePullSecret", fmt.Sprintf("Unable to retrieve image pull secret %q: %v", s.Name, err))
			continue
		}
		if c := registryLogin(secret, ref); c != nil {
			return c
		}
	}
	return nil
}

// registryLogin reads a docker configuration for the registry of an image.
func registryLogin(secret *corev1.Secret, ref string) *runtime.Credentials {
	var config struct{ Auths map[string]registryAuth }
	switch {
	case secret.Data[corev1.DockerConfigJsonKey] != nil:
		if json.Unmarshal(secret.Data[corev1.DockerConfigJsonKey], &config) != nil {
			return nil
		}
	case secret.Data[corev1.DockerConfigKey] != nil:
		if json.Unmarshal(secret.Data[corev1.DockerConfigKey], &config.Auths) != nil {
			return nil
		}
	}
	best, found := "", (*runtime.Credentials)(nil)
	for server, l := range config.Auths {
		prefix := registryPrefix(server)
		if name := fullName(ref); (name == prefix || strings.HasPrefix(name, prefix+"/")) && len(prefix) > len(best) {
			best, found = prefix, l.credentials()
		}
	}
	return found
}
