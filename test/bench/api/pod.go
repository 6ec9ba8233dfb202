package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
)

var codec = protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)

func encode(o runtime.Object) ([]byte, error) {
	var out bytes.Buffer
	err := codec.Encode(o, &out)
	return out.Bytes(), err
}

// newPod is a pod as a Deployment's: 2.4 KB of JSON once it is stored.
func newPod(i int) *corev1.Pod {
	yes := true
	return &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("web-7d4b9c6f5-%05d", i), Namespace: namespace,
			Labels: map[string]string{"app": "web", "pod-template-hash": "7d4b9c6f5"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-7d4b9c6f5",
				UID: "4d0ac0d1-3c5b-4b5e-9d2e-1f0a3f5c7b11", Controller: &yes, BlockOwnerDeletion: &yes}},
		},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{
				Name: "web", Image: "registry.example/web:1.2.3",
				Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
				Env:   []corev1.EnvVar{{Name: "LOG_LEVEL", Value: "info"}},
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
					corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi")}},
			}},
		},
	}
}

// updates are status updates of the pods that are there, ready to be sent with
// any message.
type updates struct {
	server *server
	pods   []*corev1.Pod
}

// podUpdates reads the pods.
func (b *bench) podUpdates(ctx context.Context) (*updates, error) {
	c := b.server.client()
	defer c.CloseIdleConnections()
	answer, err := b.server.do(ctx, c, request{path: pods, media: mediaProtobuf})
	if err != nil {
		return nil, err
	}
	o, _, err := codec.Decode(answer, nil, nil)
	if err != nil {
		return nil, err
	}
	list, ok := o.(*corev1.PodList)
	if !ok {
		return nil, fmt.Errorf("the list of pods is a %T", o)
	}
	u := &updates{server: b.server}
	for i := range list.Items {
		u.pods = append(u.pods, &list.Items[i])
	}
	return u, nil
}

// send replaces the status of the ith pod as a node's agent would. Nobody else
// sends for this pod meanwhile.
func (u *updates) send(ctx context.Context, c *http.Client, i int, message string) error {
	p := u.pods[i%len(u.pods)].DeepCopy()
	p.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	p.ResourceVersion = ""
	at := metav1.NewTime(time.Now())
	p.Status.Phase, p.Status.Message, p.Status.PodIP, p.Status.StartTime = corev1.PodRunning, message, "10.244.0.7", &at
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: at}}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "web", Ready: true, Image: "registry.example/web:1.2.3",
		ContainerID: "containerd://a4c1", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at}}}}
	body, err := encode(p)
	if err != nil {
		return err
	}
	_, err = u.server.do(ctx, c, request{method: http.MethodPut, path: pods + "/" + p.Name + "/status", media: mediaProtobuf, body: body})
	return err
}
