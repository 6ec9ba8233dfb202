package main

import (
	"context"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

const (
	database = `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: default}
spec:
  replicas: 2
  serviceName: db
  selector: {matchLabels: {app: db}}
  template: {metadata: {labels: {app: db}}, spec: {containers: [{name: c, image: "image:1"}]}}
`
	agents = `apiVersion: apps/v1
kind: DaemonSet
metadata: {name: net, namespace: default}
spec:
  selector: {matchLabels: {app: net}}
  template: {metadata: {labels: {app: net}}, spec: {containers: [{name: c, image: "image:1"}]}}
`
)

// emulateNode binds all pods to the node, runs them and lets them go, until the
// test ends.
func emulateNode(t *testing.T, c client.WithWatch, name string) {
	t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	ok(t, c.Create(t.Context(), node))
	node.Spec.Taints = nil // new nodes are not ready
	ok(t, c.Update(t.Context(), node))
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	pods, err := c.Watch(ctx, &corev1.PodList{})
	ok(t, err)
	done := make(chan struct{})
	t.Cleanup(func() {
		stop()
		pods.Stop()
		<-done
	})
	go func() {
		defer close(done)
		for e := range pods.ResultChan() {
			p, isPod := e.Object.(*corev1.Pod)
			if !isPod || e.Type == watch.Deleted {
				continue
			}
			var err error
			switch {
			case p.DeletionTimestamp != nil:
				err = c.Delete(ctx, p, client.GracePeriodSeconds(0))
			case p.Spec.NodeName == "":
				err = c.SubResource("binding").Create(ctx, p, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: name}})
			case p.Status.Phase == corev1.PodPending:
				p.Status.Phase = corev1.PodRunning
				p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
				err = c.Status().Update(ctx, p)
			}
			if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) && ctx.Err() == nil {
				t.Error(err)
			}
		}
	}()
}

// TestSetsOfACommitBecomeHealthy: a commit's StatefulSets and DaemonSets are
// rolled out on a real API server, and the commit is healthy when they are.
func TestSetsOfACommitBecomeHealthy(t *testing.T) {
	t.Parallel()
	c, ctx := rooms(t, "serviceaccount", "statefulset", "daemonset"), t.Context()
	emulateNode(t, c, "n1")
	git := cloneOf(t, map[string]string{"db.yaml": database, "net.yaml": agents})
	releases, err := c.Watch(ctx, &v1alpha1.ReleaseList{})
	ok(t, err)
	defer releases.Stop()
	ok(t, c.Create(ctx, &v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Name: "main"}, Spec: v1alpha1.GitSourceSpec{
		URL: git.dir, Ref: v1alpha1.GitReference{Branch: "main"}, Reports: v1alpha1.ReportsSpec{Disabled: true},
	}}))
	healthy := func() {
		t.Helper()
		name := v1alpha1.ReleaseName("main", git.run("rev-parse", "HEAD"))
		until(t, releases, func(e watch.Event) bool {
			r := e.Object.(*v1alpha1.Release)
			return r.Name == name && r.Status.Phase == v1alpha1.ReleaseHealthy
		})
	}
	healthy()
	git.write("db.yaml", strings.ReplaceAll(database, "image:1", "image:2"))
	git.write("net.yaml", strings.ReplaceAll(agents, "image:1", "image:2"))
	git.commit("roll out")
	healthy()
	var pods corev1.PodList
	ok(t, c.List(ctx, &pods, client.InNamespace("default")))
	if len(pods.Items) != 3 {
		t.Errorf("%d pods, want two of the database and one of the daemon", len(pods.Items))
	}
	for _, p := range pods.Items {
		if p.Spec.Containers[0].Image != "image:2" {
			t.Errorf("%s still runs %s", p.Name, p.Spec.Containers[0].Image)
		}
	}
	var db appsv1.StatefulSet
	ok(t, c.Get(ctx, client.ObjectKey{Namespace: "default", Name: "db"}, &db))
	if s := db.Status; s.CurrentRevision != s.UpdateRevision || s.UpdatedReplicas != 2 || s.AvailableReplicas != 2 || ptr.Deref(s.CollisionCount, 0) != 0 {
		t.Errorf("status %+v", s)
	}
}
