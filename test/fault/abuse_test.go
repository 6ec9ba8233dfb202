package fault_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// mostLog is what a container's log may take: five files of 10 MB, and the
	// blocks that are on their way.
	mostLog = 60 << 20
	// mostPids is the limit of the test's pods.
	mostPids = 200
	// others are the pods that come meanwhile.
	others = 20
)

// TestNodeOutlivesAbuse: a fork bomb, a flood of output and a leak of
// descriptors stay within their limits, the node stays ready, and other pods
// come and go (THREATS 29).
func TestNodeOutlivesAbuse(t *testing.T) {
	n := newNode(t)
	n.args = append(n.args, "--pod-max-pids", fmt.Sprint(mostPids))
	n.start()
	n.ready()
	n.load()
	abuses := []string{"forks", "flood", "files"}
	for _, name := range abuses {
		n.run(name, name, n.namespace+name)
	}
	for _, name := range abuses {
		n.running(name)
	}
	readySince := n.readySince()
	eventually(t, "the bomb at its limit", func() string {
		for _, file := range n.logs("forks") {
			if matches(file, "stopped at") {
				return ""
			}
		}
		return "it goes on"
	})
	eventually(t, "the log rotated several times", func() string {
		if files := n.logs("flood"); len(files) < 4 {
			return fmt.Sprintf("%d files", len(files))
		}
		return ""
	})
	for i := range others {
		n.run(fmt.Sprintf("other-%d", i), "sleep", n.namespace+"other")
	}
	for i := range others {
		n.running(fmt.Sprintf("other-%d", i))
	}
	if found := len(pids("/worker", "sleep", n.namespace+"forks")); found > mostPids {
		t.Errorf("the bomb has %d processes", found)
	}
	size := int64(0)
	for _, file := range n.logs("flood") {
		if info, err := os.Stat(file); err == nil { // one may just have been rotated away
			size += info.Size()
		}
	}
	if size > mostLog {
		t.Errorf("the log takes %d bytes", size)
	}
	if now := n.readySince(); now != readySince {
		t.Errorf("the node has been ready since %s, was since %s", now, readySince)
	}
	check(t, n.client.DeleteAllOf(t.Context(), &corev1.Pod{}, client.InNamespace("default"), client.GracePeriodSeconds(1)))
	eventually(t, "all pods to go", func() string {
		var pods corev1.PodList
		if err := n.client.List(t.Context(), &pods, client.InNamespace("default")); err != nil || len(pods.Items) > 0 {
			return fmt.Sprintf("%d pods, %v", len(pods.Items), err)
		}
		if left := pids("/worker", "sleep", n.namespace); len(left) > 0 {
			return fmt.Sprintf("%d processes", len(left))
		}
		return ""
	})
}

func (n *node) logs(pod string) []string {
	n.t.Helper()
	files, err := filepath.Glob(filepath.Join(n.nodeDir, "agent", "logs", "*_"+pod+"_*", "c", "*.log*"))
	check(n.t, err)
	return files
}

// readySince says since when the node has been ready.
func (n *node) readySince() string {
	n.t.Helper()
	said := ""
	eventually(n.t, "the node", func() string {
		node := &corev1.Node{}
		if err := n.client.Get(n.t.Context(), client.ObjectKey{Name: "n1"}, node); err != nil {
			return err.Error()
		}
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady {
				said = fmt.Sprintf("%s since %s", c.Status, c.LastTransitionTime)
			}
		}
		return ""
	})
	return said
}
