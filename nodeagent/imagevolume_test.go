package nodeagent_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

func TestImageVolumes(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.create(newPod("web", "web:v1", func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "data:v1", PullPolicy: corev1.PullIfNotPresent}}}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "other", Image: "web:v1"})
	}))
	waiting := func(reason string) func() bool {
		return func() bool {
			all := n.pod("web").Status.ContainerStatuses
			return len(all) == 2 && all[0].State.Waiting != nil && all[0].State.Waiting.Reason == reason && all[1].State.Running != nil
		}
	}
	n.await("ErrImagePull of the one that mounts it", waiting("ErrImagePull"))
	n.stepUntil(time.Second, "ImagePullBackOff", waiting("ImagePullBackOff"))
	if m := n.pod("web").Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(m, `"data:v1"`) {
		t.Errorf("message %q does not name the volume's image", m)
	}
	n.runtime.AddRemote(runtime.Image{ID: "sha256:data", References: []string{"data:v1"}})
	n.stepUntil(time.Second, "ready", func() bool { return ready(n.pod("web")) })
	if got := n.called("MountImage"); got != 1 {
		t.Errorf("mounted %d times", got)
	}
}

// TestFilesOfVariables: an init container writes what the next one begins with.
func TestFilesOfVariables(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	got := make(chan []string, 1)
	n.runtime.SetProgram("job:v1", writesFile("/conf", "env", "ADDRESS='a b'\n"))
	n.runtime.SetProgram("web:v1", tellEnvironment(got))
	n.create(newPod("web", "web:v1", func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "conf", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		p.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "job:v1", VolumeMounts: []corev1.VolumeMount{{Name: "conf", MountPath: "/conf"}}}}
		yes := true
		p.Spec.Containers[0].Env = []corev1.EnvVar{
			{Name: "AT", ValueFrom: &corev1.EnvVarSource{FileKeyRef: &corev1.FileKeySelector{VolumeName: "conf", Path: "env", Key: "ADDRESS"}}},
			{Name: "NONE", ValueFrom: &corev1.EnvVarSource{FileKeyRef: &corev1.FileKeySelector{VolumeName: "conf", Path: "env", Key: "NONE", Optional: &yes}}},
			{Name: "GONE", ValueFrom: &corev1.EnvVarSource{FileKeyRef: &corev1.FileKeySelector{VolumeName: "conf", Path: "gone", Key: "X", Optional: &yes}}},
		}
	}))
	n.awaitPod("web", "ready", ready)
	env := strings.Join(<-got, "\n")
	if !strings.Contains(env, "AT=a b") || strings.Contains(env, "NONE=") || strings.Contains(env, "GONE=") {
		t.Errorf("environment %s", env)
	}
}
