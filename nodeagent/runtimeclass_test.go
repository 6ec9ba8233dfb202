package nodeagent_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRuntimeClasses(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.stop()
	n.config.RuntimeHandlers = []string{"kata"}
	n.start()
	for class, handler := range map[string]string{"plain": "runc", "vm": "kata", "strange": "unknown"} {
		n.create(&nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: class}, Handler: handler})
		n.create(newPod(class, "web:v1", func(p *corev1.Pod) { p.Spec.RuntimeClassName = &class }))
	}
	n.awaitPod("plain", "ready", ready)
	n.awaitPod("vm", "ready", ready)
	n.stepUntil(time.Second, "the event", func() bool { return n.seen(`no runtime for "unknown" is configured`) })
	if ready(n.pod("strange")) || n.pod("strange").Status.Phase != corev1.PodPending {
		t.Errorf("status %+v", n.pod("strange").Status)
	}
}
