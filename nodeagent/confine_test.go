package nodeagent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

func TestLocalSeccompProfile(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	named := func(profile string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.SecurityContext = &corev1.PodSecurityContext{SeccompProfile: &corev1.SeccompProfile{
				Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: ptr.To(profile)}}
		}
	}
	n.create(newPod("web", "web:v1", named("strict/web.json")))
	n.create(newPod("bad", "web:v1", named("../pods/x.json")))
	refused := func(word string) func(*corev1.Pod) bool {
		return func(p *corev1.Pod) bool {
			s := p.Status.ContainerStatuses
			return len(s) == 1 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "CreateContainerConfigError" && strings.Contains(s[0].State.Waiting.Message, word)
		}
	}
	n.awaitPod("web", "refused: there is no such profile", refused("cannot load seccomp profile"))
	n.awaitPod("bad", "refused: outside the directory", refused("must be a path below"))
	dir := filepath.Join(n.config.SeccompDir(), "strict")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "web.json"), []byte(`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	n.stepUntil(time.Second, "the profile to be found", func() bool { return n.pod("web").Status.Phase == corev1.PodRunning })
}
