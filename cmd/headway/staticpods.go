package main

import (
	"log/slog"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/kinds"
	"github.com/headway-sh/headway/nodeagent/static"
)

// podRow is the kind of pods, made when the first pod of a file is read.
var podRow = sync.OnceValue(func() *kind.Kind {
	for _, k := range kinds.All() {
		if k.GVK == corev1.SchemeGroupVersion.WithKind("Pod") {
			return k
		}
	}
	panic("there is no kind Pod")
})

// asTheAPIWould defaults and judges a pod as if it were created in the API.
func asTheAPIWould(pod *corev1.Pod) error {
	row := podRow()
	row.Default(pod)
	row.Prepare(pod, nil)
	return append(row.ValidateMeta(pod, nil), row.Validate(pod, nil)...).ToAggregate()
}

// staticPods are the pods of the node's own files.
func staticPods(dir, node string, recorder record.EventRecorder, log *slog.Logger) *static.Config {
	about := &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: node, UID: types.UID(node)}
	return &static.Config{
		Dir: dir, NodeName: node, Prepare: asTheAPIWould, Clock: clock.RealClock{}, Logger: log,
		Broken: func(file string, err error) {
			log.Error("file holds no pod that can run", "dir", dir, "file", file, "err", err)
			recorder.Eventf(about, corev1.EventTypeWarning, "InvalidStaticPod", "File %s of the static pods: %v", file, err)
		},
	}
}
