package nodeagent

import (
	"cmp"
	"os"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/nodeagent/serve"
	"github.com/headway-sh/headway/nodeagent/status"
)

var _ serve.Pods = (*Agent)(nil)

// Find gives a pod to the agent's server.
func (a *Agent) Find(namespace, name string, uid types.UID) (serve.Pod, bool) {
	var best *shared
	for _, w := range a.all() {
		s := w.shared.Load()
		if s.pod.Namespace == namespace && s.pod.Name == name && (uid == "" || uid == s.pod.UID || s.mirror != nil && uid == s.mirror.UID) && (best == nil || best.ended) {
			best = s // one that has ended may have left its name to another
		}
	}
	if best == nil {
		return serve.Pod{}, false
	}
	return serve.Pod{UID: best.pod.UID, NetNS: best.netns, Containers: best.served}, true
}

// All gives the node's pods, by namespace and name.
func (a *Agent) All() []corev1.Pod {
	pods := []corev1.Pod{}
	for _, w := range a.all() {
		s := w.shared.Load()
		pod := *s.pod // only its own fields are changed
		if s.status != nil {
			pod.Status = *s.status
		}
		pods = append(pods, pod)
	}
	slices.SortFunc(pods, func(a, b corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return pods
}

// serve is what the server may know of a container.
func (w *worker) serve(name string, o *status.Container) serve.Container {
	c := serve.Container{ID: o.ID, LogPath: o.LogPath}
	switch {
	case o.Running():
		c.Ended = w.exits[o.ID]
	case o.Exited():
		c.Draining = w.exits[o.ID]
	}
	if spec := w.container(name); spec != nil {
		c.TTY = spec.TTY
	}
	if c.LogPath == "" && o.Created() {
		c.LogPath = w.logPath(name, o.Attempt)
	}
	if o.Attempt > 0 {
		if path := w.logPath(name, o.Attempt-1); exists(path) {
			c.PreviousLogPath = path
		}
	}
	return c
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
