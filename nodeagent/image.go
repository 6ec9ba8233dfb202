package nodeagent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

// listPatience is how long a pull that has failed waits for the list of images.
const listPatience = 10 * time.Second

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

// image gives a container's image, pulled if its policy says so, or if the pod
// may not have the one that is there without asking the registry.
func (w *worker) image(ctx context.Context, c *corev1.Container) (runtime.Image, error) {
	if _, err := runtime.NormalizeReference(c.Image); err != nil {
		message := fmt.Sprintf("Failed to apply default image tag %q: %v", c.Image, err)
		w.event1(c.Name, corev1.EventTypeWarning, "InspectFailed", message)
		return runtime.Image{}, &startFailure{reason: "InvalidImageName", message: message, again: true}
	}
	if c.ImagePullPolicy == corev1.PullAlways {
		return w.pull(ctx, c, w.credentials(ctx, c.Image))
	}
	w.sandbox.mu.Lock()
	image, ok := w.sandbox.images[c.Image]
	delete(w.sandbox.images, c.Image) // true for the first start only
	w.sandbox.mu.Unlock()
	var err error
	if !ok {
		image, err = w.agent.Runtime.Image(ctx, c.Image)
	}
	switch {
	case errors.Is(err, runtime.ErrImageNotFound):
		if c.ImagePullPolicy == corev1.PullNever {
			return runtime.Image{}, w.never(c, fmt.Sprintf("Container image %q is not present with pull policy of Never", c.Image))
		}
		return w.pull(ctx, c, w.credentials(ctx, c.Image))
	case err != nil:
		message := fmt.Sprintf("Failed to inspect image %q: %v", c.Image, err)
		w.event1(c.Name, corev1.EventTypeWarning, "InspectFailed", message)
		return runtime.Image{}, &startFailure{reason: "ImageInspectError", message: message, again: true}
	}
	if pulls := w.agent.Pulls; pulls != nil && !pulls.Public(image.ID, image.References) {
		credentials := w.credentials(ctx, c.Image)
		switch {
		case pulls.Allows(image.ID, image.References, credentials):
		case c.ImagePullPolicy == corev1.PullNever:
			return runtime.Image{}, w.never(c, fmt.Sprintf("Container image %q is present with pull policy of Never but does not have the proper credentials to access the image", c.Image))
		default:
			return w.pull(ctx, c, credentials)
		}
	}
	w.event1(c.Name, corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", c.Image))
	return image, nil
}

func (w *worker) never(c *corev1.Container, message string) error {
	w.event1(c.Name, corev1.EventTypeWarning, "ErrImageNeverPull", message)
	return &startFailure{reason: "ErrImageNeverPull", message: message, again: true}
}

func (w *worker) pull(ctx context.Context, c *corev1.Container, credentials []runtime.Credentials) (runtime.Image, error) {
	w.event1(c.Name, corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", c.Image))
	asked := w.agent.Clock.Now()
	image, took, err := w.agent.pull(ctx, c.Image, credentials)
	if err != nil {
		w.event1(c.Name, corev1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: %v", c.Image, err))
		return runtime.Image{}, &startFailure{reason: "ErrImagePull", message: err.Error(), image: c.Image, again: true}
	}
	w.event1(c.Name, corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Successfully pulled image %q in %v (%v including waiting). Image size: %d bytes.",
		c.Image, took.Truncate(time.Millisecond), w.agent.Clock.Since(asked).Truncate(time.Millisecond), image.Size))
	return image, nil
}

// pull fetches an image when its turn comes, and tells how long that took
// without the waiting.
func (a *Agent) pull(ctx context.Context, ref string, credentials []runtime.Credentials) (runtime.Image, time.Duration, error) {
	select {
	case a.turns <- struct{}{}:
		defer func() { <-a.turns }()
	case <-ctx.Done():
		return runtime.Image{}, 0, ctx.Err()
	}
	start := a.Clock.Now()
	full, err := runtime.NormalizeReference(ref)
	if err != nil {
		return runtime.Image{}, 0, err
	}
	there := map[string]bool{}
	list := func() (map[string]bool, error) {
		named, err := a.named(ctx)
		now := map[string]bool{}
		for _, id := range named {
			now[id] = true
		}
		return now, err
	}
	if a.Pulls != nil {
		named, err := a.named(ctx)
		if err != nil {
			return runtime.Image{}, 0, err
		}
		for _, id := range named {
			there[id] = true
		}
		if err := a.Pulls.Begin(full, named[full]); err != nil {
			return runtime.Image{}, 0, err
		}
	}
	pulled, err := a.Runtime.Pull(ctx, ref, credentials)
	switch {
	case a.Pulls == nil:
	case err != nil:
		err = errors.Join(err, a.pullFailed(ctx, full))
	default:
		err = a.Pulls.End(full, pulled.ID, there[pulled.ID], pulled.Credentials, pulled.Node)
		err = errors.Join(err, a.Pulls.Keep(list))
	}
	return pulled.Image, a.Clock.Since(start), err
}

// named are the images that the node's references mean.
func (a *Agent) named(ctx context.Context) (map[string]string, error) {
	images, err := a.Runtime.ListImages(ctx)
	named := map[string]string{}
	for _, i := range images {
		for _, ref := range i.References {
			named[ref] = i.ID
		}
	}
	return named, err
}

// pullFailed notes the end of a pull, also of one that was given up.
func (a *Agent) pullFailed(ctx context.Context, ref string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), listPatience)
	defer cancel()
	named, err := a.named(ctx)
	if err != nil {
		return err
	}
	return a.Pulls.Fail(ref, named[ref])
}

// credentials finds the registry's among the pod's pull secrets, in their order.
func (w *worker) credentials(ctx context.Context, ref string) []runtime.Credentials {
	pod := w.current()
	var all []runtime.Credentials
	for _, s := range pod.Spec.ImagePullSecrets {
		secret, err := source{w.agent, pod}.Secret(ctx, s.Name)
		if err != nil {
			w.event1("", corev1.EventTypeWarning, "FailedToRetrieveImagePullSecret", fmt.Sprintf("Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", s.Name))
			continue
		}
		all = append(all, registryLogins(secret, ref)...)
	}
	return all
}

// registryLogins reads a docker configuration for the registry of an image: what
// names more of the image comes first.
func registryLogins(secret *corev1.Secret, ref string) []runtime.Credentials {
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
	name := fullName(ref)
	servers := slices.DeleteFunc(slices.Sorted(maps.Keys(config.Auths)), func(server string) bool {
		prefix := registryPrefix(server)
		return name != prefix && !strings.HasPrefix(name, prefix+"/")
	})
	slices.SortStableFunc(servers, func(a, b string) int { return cmp.Compare(len(registryPrefix(b)), len(registryPrefix(a))) })
	var all []runtime.Credentials
	for _, server := range servers {
		all = append(all, *config.Auths[server].credentials())
	}
	return all
}
