package gitsource_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/google/go-cmp/cmp"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
)

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: web}]}
`

// TestFailureTellsWhy lets a Deployment fail whose pod has written a reason:
// the release and the report have the events and the last lines, although the
// way back deletes the pod.
func TestFailureTellsWhy(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t.TempDir())
	c.logs = func(_ context.Context, namespace, pod, container string, previous bool, n int) ([]string, error) {
		return []string{fmt.Sprintf("%s/%s/%s previous=%v n=%d", namespace, pod, container, previous, n), "cannot   connect\tto db"}, nil
	}
	c.run()
	defer c.stop()
	c.follow("main", nil)
	c.write("settings.yaml", configMap("settings", "one"))
	c.phase("main", c.push("first"), v1alpha1.ReleaseHealthy)
	c.write("web.yaml", deployment)
	bad := c.push("second")
	c.phase("main", bad, v1alpha1.ReleaseProgressing)

	web := txn.Ref{Resource: schema.GroupResource{Group: "apps", Resource: "deployments"}, Namespace: "default", Name: "web"}
	eventKind := metav1.TypeMeta{APIVersion: "v1", Kind: "Event"}
	owner := func(kind, name string, uid types.UID) []metav1.OwnerReference {
		return []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: name, UID: uid}}
	}
	create := func(resource schema.GroupResource, o txn.Object) txn.Object {
		c.do(admin, txn.Change{Verb: txn.Create, Ref: txn.Ref{Resource: resource, Namespace: "default", Name: o.GetName()}, Object: o})
		return c.get(txn.Ref{Resource: resource, Namespace: "default", Name: o.GetName()})
	}
	replicaSet := create(schema.GroupResource{Group: "apps", Resource: "replicasets"},
		&appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: "web-1", OwnerReferences: owner("Deployment", "web", c.get(web).GetUID())}})
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web-1-a", OwnerReferences: owner("ReplicaSet", "web-1", replicaSet.GetUID())}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{
		{Name: "main", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1}}},
		{Name: "good", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
	}
	crashed := create(schema.GroupResource{Resource: "pods"}, pod)
	create(schema.GroupResource{Resource: "events"}, &corev1.Event{TypeMeta: eventKind, ObjectMeta: metav1.ObjectMeta{Name: "e1"}, Type: "Warning", Reason: "BackOff",
		LastTimestamp: metav1.NewTime(start), Message: "Back-off restarting", InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "web-1-a", UID: crashed.GetUID()}})
	create(schema.GroupResource{Resource: "events"}, &corev1.Event{TypeMeta: eventKind, ObjectMeta: metav1.ObjectMeta{Name: "e2"}, Reason: "Foreign", InvolvedObject: corev1.ObjectReference{UID: "other"}})
	create(schema.GroupResource{Resource: "events"}, &corev1.Event{TypeMeta: eventKind, ObjectMeta: metav1.ObjectMeta{Name: "e3"}, Reason: "Before",
		LastTimestamp: metav1.NewTime(start.Add(-time.Hour)), InvolvedObject: corev1.ObjectReference{UID: crashed.GetUID()}})
	c.do(admin, txn.Change{Verb: txn.Patch, Ref: web, Subresource: "status", PatchType: types.MergePatchType, Patch: []byte(
		`{"status":{"observedGeneration":1,"conditions":[{"type":"Progressing","status":"False","reason":"ProgressDeadlineExceeded"}]}}`)})

	c.phase("main", bad, v1alpha1.ReleaseRolledBack)
	want := []v1alpha1.Evidence{
		{Object: "deployments.apps default/web", Lines: []string{"Warning BackOff pod/web-1-a: Back-off restarting"}},
		{Object: "pods default/web-1-a", Container: "main", Lines: []string{"default/web-1-a/main previous=true n=20", "cannot connect to db"}},
	}
	if diff := cmp.Diff(want, c.release("main", bad).Status.Evidence); diff != "" {
		t.Errorf("evidence (-want +got):\n%s", diff)
	}
	if c.get(web) != nil {
		t.Error("the Deployment of the bad commit is still there")
	}
	c.eventually("report", func() string {
		out, err := c.tryGit(c.bare(), "show", "headway/test:STATUS.md")
		if err != nil || !strings.Contains(out, "    cannot connect to db\n") {
			return out
		}
		return ""
	})
}
