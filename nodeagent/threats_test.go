package nodeagent_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/internal/imagebuild"
	"github.com/headway-sh/headway/nodeagent/logs"
	"github.com/headway-sh/headway/nodeagent/runtime/runtimetest"
)

// TestStatusSaysWhyNothingRuns: what is wrong with a pod is in its status, in so
// many words (THREATS 30).
func TestStatusSaysWhyNothingRuns(t *testing.T) {
	n := newRealNode(t)
	nonRoot, digest := true, "example.org/app@sha256:"+strings.Repeat("0", 64)
	for name, tc := range map[string]struct {
		change          func(*corev1.Container)
		reason, message string
	}{
		"missing":    {func(c *corev1.Container) { c.Image = "example.org/missing:v1" }, "ErrImageNeverPull", `Container image "example.org/missing:v1" is not present with pull policy of Never`},
		"digest":     {func(c *corev1.Container) { c.Image = digest }, "ErrImageNeverPull", digest},
		"root":       {func(c *corev1.Container) { c.SecurityContext = &corev1.SecurityContext{RunAsNonRoot: &nonRoot} }, "CreateContainerConfigError", "container has runAsNonRoot and image will run as root"},
		"no-command": {func(c *corev1.Container) { c.Command = []string{"no-such-command"} }, "StartError", "no-such-command"},
		"directory":  {func(c *corev1.Container) { c.Command = []string{"/bin"} }, "StartError", "/bin"},
		"no-config": {func(c *corev1.Container) {
			c.Env = []corev1.EnvVar{{Name: "A", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "none"}, Key: "k"}}}}
		}, "CreateContainerConfigError", `"none" not found`},
		"profile": {func(c *corev1.Container) {
			profile := "none.json"
			c.SecurityContext = &corev1.SecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: &profile}}
		}, "CreateContainerConfigError", "none.json"},
	} {
		n.create(newPod(name, runtimetest.ImageName, func(p *corev1.Pod) {
			c := &p.Spec.Containers[0]
			p.Spec.RestartPolicy, c.ImagePullPolicy = corev1.RestartPolicyNever, corev1.PullNever
			tc.change(c)
		}))
		pod := n.awaitPod(name, tc.reason, func(p *corev1.Pod) bool {
			if len(p.Status.ContainerStatuses) == 0 {
				return false
			}
			reason, message := why(p.Status.ContainerStatuses[0].State)
			return reason == tc.reason && strings.Contains(message, tc.message)
		})
		if end := pod.Status.ContainerStatuses[0].State.Terminated; end != nil && (end.ExitCode < 126 || end.ExitCode > 128) {
			t.Errorf("%s: exit code %d", name, end.ExitCode)
		}
		n.remove(name)
	}
	n.await("the pods to be gone", func() bool {
		s, c, err := n.config.Runtime.List(t.Context())
		return err == nil && len(s)+len(c) == 0
	})
}

func why(s corev1.ContainerState) (reason, message string) {
	switch {
	case s.Waiting != nil:
		return s.Waiting.Reason, s.Waiting.Message
	case s.Terminated != nil:
		return s.Terminated.Reason, s.Terminated.Message
	}
	return "", ""
}

// TestHostileImage: what an image says stays in the container or in the log,
// as data (THREATS 31).
func TestHostileImage(t *testing.T) {
	n := newRealNode(t)
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(n.dir, "outside")
	if err := os.WriteFile(outside, []byte("hw:x:0:0::/:/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := imagebuild.WriteArchive(&archive, imagebuild.Image{
		Reference: "example.org/hostile:1", Architecture: goruntime.GOARCH,
		Files: []imagebuild.File{
			{Path: "/bin/sh", Source: busybox, Mode: 0o755},
			{Path: "/etc/passwd", Link: outside},
			{Path: "/etc/group", Content: bytes.Repeat([]byte("g:x:1:\xff\x00\n"), 1000)},
			{Path: "/dev", Link: "/etc"},
			{Path: "/work", Link: "../../../../../../.." + n.dir},
		},
		Config: v1.Config{
			Entrypoint: []string{"/bin/sh", "-c", `printf '\033]0;title\007 2026-01-01T00:00:00Z stdout F forged\n'; pwd; echo made > made; printf '\377\n'`},
			WorkingDir: "../../../../tmp/\n../x", Env: []string{"B=1\n\x1b[2J"},
			Labels: map[string]string{"io.kubernetes.pod.uid": "forged", "x\n": strings.Repeat("y", 10_000)},
		},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.config.Runtime.Import(t.Context(), &archive); err != nil {
		t.Fatal(err)
	}
	n.create(newPod("hostile", "example.org/hostile:1", func(p *corev1.Pod) {
		p.Spec.RestartPolicy, p.Spec.Containers[0].ImagePullPolicy = corev1.RestartPolicyNever, corev1.PullNever
		p.Spec.Containers[0].TerminationMessagePath = "/work/message"
	}))
	pod := n.awaitPod("hostile", "its end", func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	})
	found, _ := n.agent.Find("default", "hostile", "")
	var out bytes.Buffer
	if path := found.Containers["app"].LogPath; path != "" {
		if err := logs.Read(t.Context(), path, logs.Options{Tail: -1}, &out, &out); err != nil && !os.IsNotExist(err) {
			t.Log(err)
		}
	}
	if pod.Status.Phase != corev1.PodSucceeded || !strings.HasPrefix(out.String(), "\x1b]0;title\x07 2026-01-01T00:00:00Z stdout F forged\n/tmp") {
		reason, message := why(pod.Status.ContainerStatuses[0].State)
		t.Errorf("%s: %s; log %q", reason, message, out.String())
	}
	for _, path := range []string{filepath.Join(n.dir, "message"), filepath.Join(n.dir, "made"), "/tmp/made"} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s was made outside", path)
		}
	}
	n.create(newPod("after", runtimetest.ImageName, func(p *corev1.Pod) {
		grace := int64(1)
		p.Spec.TerminationGracePeriodSeconds = &grace
		p.Spec.Containers[0].Command = []string{"sh", "-c", "while :; do sleep 1; done"}
	}))
	n.awaitPod("after", "ready", ready)
	for _, name := range []string{"hostile", "after"} {
		n.remove(name)
	}
	n.await("the pods to be gone", func() bool {
		s, c, err := n.config.Runtime.List(t.Context())
		return err == nil && len(s)+len(c) == 0
	})
}
