package inproc_test

import (
	"bytes"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/admission"
)

// clusterRig has a namespace with its account, and every admission step.
func clusterRig(t *testing.T) (*rig, client.Client) {
	t.Helper()
	r := newRig(t, nil, admission.Steps(admission.Config{})...)
	c := r.peer("system:serviceaccount:kube-system:test").Client()
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "default"}},
	} {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	return r, c
}

func webPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "example.com/web:1"}}},
	}
}

func TestPodLifecycle(t *testing.T) {
	t.Parallel()
	_, c := clusterRig(t)
	ctx := t.Context()
	pod := webPod("p")
	if err := c.Create(ctx, pod); err != nil {
		t.Fatal(err)
	}
	if s := pod.Spec; pod.Status.Phase != corev1.PodPending || s.ServiceAccountName != "default" || *s.Priority != 0 || len(s.Tolerations) != 2 || len(s.Volumes) != 1 {
		t.Errorf("created %+v", s)
	}
	for _, e := range pod.ManagedFields {
		if e.Subresource != "" || bytes.Contains(e.FieldsV1.Raw, []byte("f:status")) {
			t.Errorf("creating a pod owns its status: %s", e.FieldsV1.Raw)
		}
	}
	bind := func() error {
		return c.SubResource("binding").Create(ctx, pod, &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}})
	}
	if err := bind(); err != nil {
		t.Fatal(err)
	}
	if err := bind(); !apierrors.IsConflict(err) {
		t.Errorf("bound twice: %v", err)
	}
	if err := c.Get(ctx, client.ObjectKeyFromObject(pod), pod); err != nil || pod.Spec.NodeName != "n1" {
		t.Fatalf("bound: %v, %q", err, pod.Spec.NodeName)
	}
	// The status is written through its own path and nothing else is.
	pod.Status.Phase, pod.Status.PodIP = corev1.PodRunning, "10.0.0.1"
	pod.Status.PodIPs = []corev1.PodIP{{IP: "10.0.0.1"}}
	pod.Spec.NodeName = "n2"
	if err := c.Status().Update(ctx, pod); err != nil || pod.Spec.NodeName != "n1" || pod.Status.Phase != corev1.PodRunning {
		t.Errorf("status: %v, %s on %s", err, pod.Status.Phase, pod.Spec.NodeName)
	}
	var byNode corev1.PodList
	if err := c.List(ctx, &byNode, client.MatchingFields{"spec.nodeName": "n1"}); err != nil || len(byNode.Items) != 1 {
		t.Errorf("by node: %v, %d", err, len(byNode.Items))
	}
	// Deletion waits for the node: grace first, then grace 0.
	if err := c.Delete(ctx, pod); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(ctx, client.ObjectKeyFromObject(pod), pod); err != nil || pod.DeletionTimestamp == nil || *pod.DeletionGracePeriodSeconds != 30 {
		t.Fatalf("terminating: %v, %+v", err, pod.ObjectMeta)
	}
	if err := c.Delete(ctx, pod, client.GracePeriodSeconds(0), client.Preconditions{UID: &pod.UID}); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(ctx, client.ObjectKeyFromObject(pod), pod); !apierrors.IsNotFound(err) {
		t.Errorf("gone: %v", err)
	}
}

func TestNamespaceLifecycle(t *testing.T) {
	t.Parallel()
	_, c := clusterRig(t)
	ctx := t.Context()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	for range 2 { // the second deletion changes nothing
		if err := c.Delete(ctx, ns); err != nil {
			t.Fatal(err)
		}
		if err := c.Get(ctx, client.ObjectKeyFromObject(ns), ns); err != nil || ns.Status.Phase != corev1.NamespaceTerminating || ns.DeletionTimestamp == nil {
			t.Fatalf("terminating: %v, %+v", err, ns)
		}
	}
	err := c.Create(ctx, webPod("late"))
	if !apierrors.IsForbidden(err) || !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		t.Errorf("create in a terminating namespace: %v", err)
	}
	ns.Spec.Finalizers = nil
	if err := c.SubResource("finalize").Update(ctx, ns); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(ctx, client.ObjectKeyFromObject(ns), ns); !apierrors.IsNotFound(err) {
		t.Errorf("finalized: %v", err)
	}
	if err := c.Create(ctx, webPod("later")); !apierrors.IsNotFound(err) {
		t.Errorf("create in no namespace: %v", err)
	}
}

// TestNamespaceDecides shows that an object cannot slip into a namespace whose
// deletion has begun since it was planned.
func TestNamespaceDecides(t *testing.T) {
	t.Parallel()
	r, c := clusterRig(t)
	ctx := t.Context()
	db := r.peer("alice").Txn()
	view, err := db.View(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ref := txn.Ref{Resource: corev1.Resource("configmaps"), Namespace: "shop", Name: "a"}
	plan, err := db.Plan(ctx, view, txn.Identity{}, []txn.Change{{Verb: txn.Create, Ref: ref, Object: configMap("a")}})
	if err != nil || plan.Err() != nil {
		t.Fatal(err, plan.Err())
	}
	if err := c.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Commit(ctx, plan, txn.CommitOptions{}); !txn.IsConflict(err) {
		t.Errorf("commit: %v", err)
	}
}

func TestScale(t *testing.T) {
	t.Parallel()
	_, c := clusterRig(t)
	ctx := t.Context()
	labels := map[string]string{"app": "web"}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](2), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: webPod("").Spec},
		},
	}
	if err := c.Create(ctx, d); err != nil || d.Generation != 1 {
		t.Fatalf("create: %v, generation %d", err, d.Generation)
	}
	scale := &autoscalingv1.Scale{}
	if err := c.SubResource("scale").Get(ctx, d, scale); err != nil || scale.Spec.Replicas != 2 {
		t.Fatalf("get: %v, %+v", err, scale)
	}
	scale.Spec.Replicas = 5
	if err := c.SubResource("scale").Update(ctx, d, client.WithSubResourceBody(scale)); err != nil || scale.Spec.Replicas != 5 {
		t.Fatalf("update: %v, %+v", err, scale)
	}
	stale := scale.DeepCopy()
	stale.ResourceVersion = "1"
	if err := c.SubResource("scale").Update(ctx, d, client.WithSubResourceBody(stale)); !apierrors.IsConflict(err) {
		t.Errorf("stale: %v", err)
	}
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"replicas":7}}`))
	if err := c.SubResource("scale").Patch(ctx, d, patch, client.WithSubResourceBody(scale)); err != nil || scale.Spec.Replicas != 7 {
		t.Errorf("patch: %v, %+v", err, scale.Spec)
	}
	if err := c.Get(ctx, client.ObjectKeyFromObject(d), d); err != nil || *d.Spec.Replicas != 7 || d.Generation != 3 {
		t.Errorf("scaled: %v, %d, generation %d", err, *d.Spec.Replicas, d.Generation)
	}
}

// TestBindsInOneBatch binds as the scheduler does: many at once, a loser
// alone.
func TestBindsInOneBatch(t *testing.T) {
	t.Parallel()
	r, c := clusterRig(t)
	ctx := t.Context()
	var changes []txn.Change
	for i := range 5 {
		pod := webPod(fmt.Sprintf("p%d", i))
		if err := c.Create(ctx, pod); err != nil {
			t.Fatal(err)
		}
		changes = append(changes, txn.Change{
			Verb: txn.Create, Ref: txn.Ref{Resource: corev1.Resource("pods"), Namespace: "shop", Name: pod.Name}, Subresource: "binding",
			Object: &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: pod.Name, UID: pod.UID}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}},
		})
	}
	db := r.peer("system:kube-scheduler").Txn()
	view, err := db.View(ctx)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := db.Plan(ctx, view, txn.Identity{}, changes)
	if err != nil || plan.Err() != nil {
		t.Fatal(err, plan.Err())
	}
	if err := c.Delete(ctx, webPod("p3")); err != nil {
		t.Fatal(err)
	}
	done, err := db.Commit(ctx, plan, txn.CommitOptions{Independent: true})
	if err != nil || len(done.Failed) != 1 || !txn.IsConflict(done.Failed[3]) {
		t.Fatalf("%v, failed %v", err, done.Failed)
	}
	for i, o := range done.Objects {
		if i != 3 && (o.(*corev1.Pod).Spec.NodeName != "n1" || o.GetResourceVersion() != fmt.Sprint(done.Revision)) {
			t.Errorf("p%d: %+v", i, o)
		}
	}
}

// TestNamespaceAndContentsInOneCommit creates a namespace and what is in it at
// one revision.
func TestNamespaceAndContentsInOneCommit(t *testing.T) {
	t.Parallel()
	r, _ := clusterRig(t)
	db := r.peer("system:serviceaccount:kube-system:gitsource").Txn()
	in := func(o client.Object) client.Object { o.SetNamespace("new"); return o }
	objects := map[string]client.Object{
		"namespaces":      &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "new"}},
		"serviceaccounts": in(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}),
		"services":        in(service("web", nodePort)),
		"pods":            in(webPod("web")),
	}
	result, done, err := txn.Run(t.Context(), db, txn.Identity{}, txn.CommitOptions{}, func(txn.View) ([]txn.Change, error) {
		var changes []txn.Change
		for _, resource := range []string{"namespaces", "serviceaccounts", "services", "pods"} {
			o := objects[resource]
			changes = append(changes, txn.Change{Verb: txn.Create, Ref: txn.Ref{Resource: corev1.Resource(resource), Namespace: o.GetNamespace(), Name: o.GetName()}, Object: o})
		}
		return changes, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Compares) != 0 {
		t.Errorf("compares %v: everything that decided is written by the commit itself", result.Compares)
	}
	for _, o := range done.Objects {
		if o.GetResourceVersion() != fmt.Sprint(done.Revision) {
			t.Errorf("%s at %s, the commit at %d", o.GetName(), o.GetResourceVersion(), done.Revision)
		}
	}
}

// TestApplyAgainChangesNothing applies as kubectl --server-side does: what is
// there already is not written again, whatever was defaulted or allocated.
func TestApplyAgainChangesNothing(t *testing.T) {
	t.Parallel()
	_, c := clusterRig(t)
	manifests := map[string]string{
		"Deployment": `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"shop"},"spec":{"replicas":2,"selector":{"matchLabels":{"app":"web"}},
			"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"web","image":"example.com/web:1","ports":[{"containerPort":80}],"resources":{"limits":{"cpu":"1000m"}}}]}}}}`,
		"Service": `{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"shop"},"spec":{"type":"NodePort","selector":{"app":"web"},"ports":[{"port":80,"targetPort":"http"}]}}`,
		"Pod":     `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"one","namespace":"shop"},"spec":{"containers":[{"name":"web","image":"example.com/web:1"}]}}`,
	}
	for name, manifest := range manifests {
		t.Run(name, func(t *testing.T) {
			u := &unstructured.Unstructured{}
			if err := u.UnmarshalJSON([]byte(manifest)); err != nil {
				t.Fatal(err)
			}
			var versions []string
			for range 3 {
				applied := u.DeepCopy()
				if err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner("kubectl"), client.ForceOwnership); err != nil {
					t.Fatal(err)
				}
				versions = append(versions, applied.GetResourceVersion())
			}
			if versions[0] == "" || versions[0] != versions[1] || versions[1] != versions[2] {
				t.Errorf("versions %v, want the same", versions)
			}
		})
	}
}
