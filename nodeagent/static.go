package nodeagent

import (
	"context"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/nodeagent/plan"
	"github.com/headway-sh/headway/nodeagent/static"
)

// StaticPods gives the pods of the node's own files. Run calls changed with all
// of them, at once and whenever they are others, until ctx ends.
type StaticPods interface {
	Run(ctx context.Context, changed func(static.Set)) error
}

// manifests are the pods of files: what is wanted, and what the API shows of it.
// They belong to the agent's mutex.
type manifests struct {
	known   bool // wanted is what the directory holds
	wanted  static.Set
	mirrors map[string]*corev1.Pod // in the API, by namespace and name
	leaving map[types.UID]bool     // mirrors that are being deleted
}

func isMirror(pod *corev1.Pod) bool {
	_, ok := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return ok
}

// followFiles starts and ends the pods of files.
func (a *Agent) followFiles(ctx context.Context) {
	if a.Static == nil {
		return
	}
	err := a.Static.Run(ctx, func(set static.Set) {
		a.mu.Lock()
		a.manifests.known, a.manifests.wanted = true, set
		a.mu.Unlock()
		a.syncFiles()
	})
	if err != nil && ctx.Err() == nil {
		a.Logger.Error("pods of files are not followed", "err", err)
	}
}

// setMirrors is the whole list of mirror pods.
func (a *Agent) setMirrors(pods []*corev1.Pod) {
	a.mu.Lock()
	a.manifests.mirrors = map[string]*corev1.Pod{}
	for _, p := range pods {
		a.manifests.mirrors[podName(p)] = p
	}
	a.mu.Unlock()
	a.syncFiles()
}

// setMirror is one of them; gone: there is none any more.
func (a *Agent) setMirror(pod *corev1.Pod, gone bool) {
	a.mu.Lock()
	switch now := a.manifests.mirrors[podName(pod)]; {
	case !gone:
		a.manifests.mirrors[podName(pod)] = pod
	case now != nil && now.UID == pod.UID:
		delete(a.manifests.mirrors, podName(pod))
	}
	a.mu.Unlock()
	a.syncFiles()
}

// syncFiles ends the pods whose files are gone or others, starts those that are
// new as soon as nobody runs under their name, and takes away what the API
// shows of pods that nobody runs.
func (a *Agent) syncFiles() {
	a.mu.Lock()
	wanted, running := map[types.UID]bool{}, map[string]*worker{}
	for _, pod := range a.manifests.wanted.Pods {
		wanted[pod.UID] = true
	}
	for _, w := range a.workers {
		pod := w.shared.Load().pod
		if !w.static {
			continue
		}
		running[podName(pod)] = w
		if _, broken := a.manifests.wanted.Broken[pod.Annotations[static.FileAnnotation]]; a.manifests.known && !wanted[w.uid] && !broken {
			w.post(w.remove)
		}
	}
	var starting []*corev1.Pod
	for _, pod := range a.manifests.wanted.Pods {
		if running[podName(pod)] == nil {
			starting = append(starting, pod)
		}
	}
	for name, mirror := range a.manifests.mirrors {
		if running[name] == nil && a.manifests.known && !slices.ContainsFunc(starting, func(p *corev1.Pod) bool { return podName(p) == name }) {
			a.dismiss(mirror)
		}
	}
	for name, w := range running {
		mirror := a.manifests.mirrors[name]
		w.post(func() { w.mirrored(mirror) })
	}
	mirrors := maps.Clone(a.manifests.mirrors)
	a.mu.Unlock()
	for _, pod := range starting {
		if w := a.start(pod, false); w != nil {
			w.post(func() { w.mirrored(mirrors[podName(pod)]) })
		}
	}
}

// dismiss deletes a mirror that nobody runs a pod for, beside everything else;
// mu is held.
func (a *Agent) dismiss(mirror *corev1.Pod) {
	if a.manifests.leaving[mirror.UID] || a.context == nil {
		return
	}
	if a.manifests.leaving == nil {
		a.manifests.leaving = map[types.UID]bool{}
	}
	a.manifests.leaving[mirror.UID] = true
	ctx := a.context
	a.group.Go(func() {
		for n := 1; ctx.Err() == nil; n++ {
			err := a.deleteMirror(ctx, mirror)
			if err == nil {
				break
			}
			a.Logger.Warn("mirror pod not deleted", "pod", podName(mirror), "err", err)
			select {
			case <-a.Clock.After(soon(n)):
			case <-ctx.Done():
			}
		}
		a.mu.Lock()
		delete(a.manifests.leaving, mirror.UID)
		a.mu.Unlock()
	})
}

func (a *Agent) deleteMirror(ctx context.Context, mirror *corev1.Pod) error {
	err := a.Client.Delete(ctx, mirror, client.GracePeriodSeconds(0), client.Preconditions{UID: &mirror.UID})
	if gone(err) {
		return nil
	}
	return err
}

// mirror is what the API shows of a worker's pod that comes from a file.
type mirror struct {
	pod      *corev1.Pod // nil: the API has none
	retry    time.Time
	failures int
}

// mirrored takes what the API shows of the pod; nil: nothing.
func (w *worker) mirrored(pod *corev1.Pod) {
	if pod == nil && w.mirror.pod == nil || pod != nil && w.mirror.pod != nil && pod.ResourceVersion == w.mirror.pod.ResourceVersion {
		return
	}
	if w.mirror.pod != nil && (pod == nil || pod.UID != w.mirror.pod.UID) {
		w.agent.writer.Forget(w.mirror.pod.UID)
	}
	w.mirror.pod = pod
	if pod != nil {
		own := w.pod.DeepCopy()
		own.Status, own.Generation = *pod.Status.DeepCopy(), pod.Generation
		w.pod = own
	}
	w.share()
}

// remove ends a pod whose file is gone.
func (w *worker) remove() { w.end(plan.Grace(w.pod), true) }

// inAPI is the object that the pod's status is written to; nil: there is none.
func (w *worker) inAPI() *corev1.Pod {
	switch {
	case !w.static:
		return w.pod
	case w.mirror.pod == nil || w.mirror.pod.DeletionTimestamp != nil || !w.mirrors(w.mirror.pod):
		return nil
	}
	return w.mirror.pod
}

// mirrors tells whether a mirror is that of the pod as it is now.
func (w *worker) mirrors(pod *corev1.Pod) bool {
	return pod.Annotations[corev1.MirrorPodAnnotationKey] == string(w.uid)
}

// showMirror makes sure that the API shows the pod; it gives the time to try
// again.
func (w *worker) showMirror(ctx context.Context) time.Time {
	const name = "mirror"
	if !w.static || w.busy[name] || w.inAPI() != nil || w.ending != nil && w.ending.Delete {
		return time.Time{}
	}
	if w.agent.Clock.Now().Before(w.mirror.retry) {
		return w.mirror.retry
	}
	old, pod := w.mirror.pod, w.pod
	w.spawn(ctx, name, func(ctx context.Context) func() {
		made, err := w.agent.makeMirror(ctx, old, pod)
		return func() {
			if err != nil {
				w.mirror.failures++
				w.mirror.retry = w.agent.Clock.Now().Add(soon(w.mirror.failures))
				if ctx.Err() == nil {
					w.agent.Logger.Info("mirror pod not made", "pod", podName(pod), "err", err)
				}
				return
			}
			w.mirror.failures, w.mirror.retry = 0, time.Time{}
			w.mirrored(made)
		}
	})
	return time.Time{}
}

// makeMirror makes the API's object for a pod of a file in place of an old one.
func (a *Agent) makeMirror(ctx context.Context, old, pod *corev1.Pod) (*corev1.Pod, error) {
	if old != nil {
		if err := a.deleteMirror(ctx, old); err != nil {
			return nil, err
		}
	}
	node := &corev1.Node{}
	if err := a.Client.Get(ctx, client.ObjectKey{Name: a.NodeName}, node); err != nil {
		return nil, err
	}
	made := &corev1.Pod{Spec: *pod.Spec.DeepCopy()}
	made.Namespace, made.Name, made.Labels, made.Annotations = pod.Namespace, pod.Name, maps.Clone(pod.Labels), maps.Clone(pod.Annotations)
	made.Annotations[corev1.MirrorPodAnnotationKey] = string(pod.UID)
	made.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID, Controller: ptr.To(true)}}
	err := a.Client.Create(ctx, made)
	if !apierrors.IsAlreadyExists(err) {
		return made, err
	}
	have := &corev1.Pod{}
	if e := a.Client.Get(ctx, client.ObjectKeyFromObject(made), have); e != nil {
		return nil, e
	}
	if have.Annotations[corev1.MirrorPodAnnotationKey] != string(pod.UID) || have.Spec.NodeName != a.NodeName {
		return nil, err // somebody else's: it is not for us to delete
	}
	return have, nil
}
