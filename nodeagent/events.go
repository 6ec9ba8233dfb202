package nodeagent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// NewRecorder gives a recorder that writes events as this node through c, with
// client-go's aggregation and its limit for a flood. It lives until ctx ends.
func NewRecorder(ctx context.Context, c client.Client, nodeName string, logger *slog.Logger) record.EventRecorder {
	b := record.NewBroadcaster(record.WithContext(ctx))
	b.StartRecordingToSink(&sink{ctx, c, logger})
	context.AfterFunc(ctx, b.Shutdown)
	return b.NewRecorder(c.Scheme(), corev1.EventSource{Component: "kubelet", Host: nodeName})
}

// sink writes events through the client.
type sink struct {
	ctx    context.Context //nolint:containedctx // the sink's interface passes none
	client client.Client
	logger *slog.Logger
}

var _ record.EventSink = (*sink)(nil)

func (s *sink) Create(e *corev1.Event) (*corev1.Event, error) {
	e = e.DeepCopy()
	return e, s.client.Create(s.ctx, e)
}

func (s *sink) Update(e *corev1.Event) (*corev1.Event, error) {
	e = e.DeepCopy()
	return e, s.client.Update(s.ctx, e)
}

func (s *sink) Patch(old *corev1.Event, data []byte) (*corev1.Event, error) {
	e := &corev1.Event{}
	e.Namespace, e.Name = old.Namespace, old.Name
	if !json.Valid(data) {
		return nil, fmt.Errorf("patch of event %q is not JSON", old.Name)
	}
	return e, s.client.Patch(s.ctx, e, client.RawPatch(types.StrategicMergePatchType, data))
}

// event1 records an event about a container of the pod; "" is the pod itself.
func (w *worker) event1(container, kind, reason, message string) {
	pod := w.current()
	var about runtime.Object = pod
	if container != "" {
		about = &corev1.ObjectReference{
			APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
			ResourceVersion: pod.ResourceVersion, FieldPath: fieldPath(pod, container),
		}
	}
	w.agent.Recorder.Event(about, kind, reason, message)
}

func fieldPath(pod *corev1.Pod, name string) string {
	list := "spec.containers"
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == name {
			list = "spec.initContainers"
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			list = "spec.ephemeralContainers"
		}
	}
	return list + "{" + name + "}"
}
