package nodeagent_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/nodeagent/pulls"
	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/runtime/emulator"
)

// TestPrivateImages pulls one with a pod's secret; pods without it may not use
// what is there then, whatever their policy is.
func TestPrivateImages(t *testing.T) {
	t.Parallel()
	secret := func(name, user string) *corev1.Secret {
		s := &corev1.Secret{}
		s.Namespace, s.Name = "default", name
		s.Data = map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{"example.com":{"username":"` + user + `","password":"p"}}}`)}
		return s
	}
	n := newNode(t, secret("jane", "jane"), secret("jack", "jack"))
	n.stop()
	records, err := pulls.Open(filepath.Join(n.dir, "pulls.json"))
	if err != nil {
		t.Fatal(err)
	}
	n.config.Pulls, n.config.ParallelPulls = records, 1
	n.start()
	const image = "example.com/team/app:v1"
	n.runtime.AddRemote(runtime.Image{ID: "sha256:private", References: []string{image}})
	n.runtime.SetPrivate(image, "jane")
	n.runtime.SetProgram(image, emulator.Graceful(0))
	with := func(policy corev1.PullPolicy, secrets ...string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Containers[0].ImagePullPolicy = policy
			for _, s := range secrets {
				p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: s})
			}
		}
	}
	waits := func(name, reason, message string) {
		t.Helper()
		pod := n.awaitPod(name, "waiting: "+reason, func(p *corev1.Pod) bool {
			return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Waiting != nil && p.Status.ContainerStatuses[0].State.Waiting.Reason == reason
		})
		if got := pod.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(got, message) {
			t.Errorf("%s: message %q, want %q", name, got, message)
		}
	}
	n.create(newPod("first", image, with(corev1.PullIfNotPresent, "jack", "jane")))
	n.awaitPod("first", "ready", ready)
	n.create(newPod("none", image, with(corev1.PullIfNotPresent)))
	waits("none", "ErrImagePull", "401 Unauthorized")
	n.create(newPod("wrong", image, with(corev1.PullIfNotPresent, "jack")))
	waits("wrong", "ErrImagePull", "401 Unauthorized")
	n.create(newPod("never", image, with(corev1.PullNever)))
	waits("never", "ErrImageNeverPull", "does not have the proper credentials")
	before := n.called("Pull")
	n.create(newPod("second", image, with(corev1.PullNever, "jane")))
	n.awaitPod("second", "ready", ready)
	if now := n.called("Pull"); now != before {
		t.Errorf("%d pulls more", now-before)
	}
	n.create(newPod("bad", "Not/An Image", with(corev1.PullIfNotPresent)))
	waits("bad", "InvalidImageName", `Failed to apply default image tag "Not/An Image"`)
	n.stepUntil(time.Second, "back-off", func() bool {
		s := n.pod("none").Status.ContainerStatuses[0].State.Waiting
		return s != nil && s.Reason == "ImagePullBackOff" && strings.HasPrefix(s.Message, `Back-off pulling image "`+image+`": ErrImagePull: `)
	})
}
