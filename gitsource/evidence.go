package gitsource

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
)

// How much a failed release tells of its objects.
const (
	maxEvidence   = 5 // objects, and containers
	maxLines      = 20
	maxLine       = 500 // bytes
	evidencePause = 3 * time.Second
)

var (
	pods   = schema.GroupResource{Resource: "pods"}
	events = schema.GroupResource{Resource: "events"}
	// owners of pods that are themselves owned by what people write
	between = []schema.GroupResource{{Group: "apps", Resource: "replicasets"}, {Group: "batch", Resource: "jobs"}}
)

// evidence gathers what is known of the objects that keep a commit from being
// healthy: events, and the last lines of containers. It is best effort and
// takes at most evidencePause: the objects are about to go.
func (s *source) evidence(ctx context.Context) []v1alpha1.Evidence {
	view, err := s.engine.cfg.Txn.View(ctx)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, evidencePause)
	defer cancel()
	var out []v1alpha1.Evidence
	sick := s.tracker.Sick()
	for _, ref := range sick[:min(len(sick), maxEvidence)] {
		o, ok := view.Get(ref)
		if !ok {
			continue
		}
		family := familyOf(view, ref.Namespace, o.GetUID())
		if lines := eventsOf(view, ref.Namespace, family, s.release.Status.StartedTime); len(lines) > 0 {
			out = append(out, v1alpha1.Evidence{Object: ref.String(), Lines: lines})
		}
		for p := range view.Each(pods, ref.Namespace) {
			if pod, ok := p.(*corev1.Pod); ok && family[pod.UID] && len(out) < 2*maxEvidence {
				out = append(out, s.lastLines(ctx, pod)...)
			}
		}
	}
	return out[:min(len(out), 2*maxEvidence)]
}

// familyOf are an object and what it owns down to its pods.
func familyOf(view txn.View, namespace string, uid types.UID) map[types.UID]bool {
	family := map[types.UID]bool{uid: true}
	for _, resource := range append(slices.Clone(between), pods) {
		for o := range view.Each(resource, namespace) {
			for _, owner := range o.GetOwnerReferences() {
				if family[owner.UID] {
					family[o.GetUID()] = true
				}
			}
		}
	}
	return family
}

// eventsOf are the newest events of a family since a time, the newest last.
func eventsOf(view txn.View, namespace string, family map[types.UID]bool, since *metav1.Time) []string {
	when := func(e *corev1.Event) time.Time {
		for _, t := range []metav1.Time{e.LastTimestamp, {Time: e.EventTime.Time}} {
			if !t.IsZero() {
				return t.Time
			}
		}
		return e.CreationTimestamp.Time
	}
	var found []*corev1.Event
	for o := range view.Each(events, namespace) {
		if e, ok := o.(*corev1.Event); ok && family[e.InvolvedObject.UID] && (since == nil || !when(e).Before(since.Time)) {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b *corev1.Event) int { return when(a).Compare(when(b)) })
	var lines []string
	for _, e := range found[max(0, len(found)-maxLines):] {
		lines = append(lines, oneLine(fmt.Sprintf("%s %s %s: %s", e.Type, e.Reason, strings.ToLower(e.InvolvedObject.Kind)+"/"+e.InvolvedObject.Name, e.Message)))
	}
	return lines
}

// lastLines are the last words of a pod's containers that are not ready.
func (s *source) lastLines(ctx context.Context, pod *corev1.Pod) []v1alpha1.Evidence {
	if s.engine.cfg.Logs == nil {
		return nil
	}
	var out []v1alpha1.Evidence
	for _, c := range append(slices.Clone(pod.Status.InitContainerStatuses), pod.Status.ContainerStatuses...) {
		if c.Ready || c.State.Terminated != nil && c.State.Terminated.ExitCode == 0 {
			continue
		}
		ended := c.State.Running == nil && c.LastTerminationState.Terminated != nil && c.State.Terminated == nil
		lines, err := s.engine.cfg.Logs(ctx, pod.Namespace, pod.Name, c.Name, ended, maxLines)
		if err != nil || len(lines) == 0 {
			continue
		}
		for i := range lines {
			lines[i] = oneLine(lines[i])
		}
		out = append(out, v1alpha1.Evidence{Object: txn.Ref{Resource: pods, Namespace: pod.Namespace, Name: pod.Name}.String(), Container: c.Name, Lines: lines})
	}
	return out
}

func oneLine(s string) string {
	s = strings.ToValidUTF8(strings.Join(strings.Fields(s), " "), "?")
	if len(s) > maxLine {
		s = strings.ToValidUTF8(s[:maxLine-3], "") + "..."
	}
	return s
}
