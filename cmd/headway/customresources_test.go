package main

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/apiserver"
	"github.com/headway-sh/headway/reconciler"
)

const crew = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.sea.example.com}
spec:
  group: sea.example.com
  scope: Namespaced
  names: {plural: boats, kind: Boat}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema: {type: object, properties: {spec: {type: object, required: [length], properties: {length: {type: integer}}}}}
---
apiVersion: v1
kind: Namespace
metadata: {name: harbour}
---
apiVersion: sea.example.com/v1
kind: Boat
metadata: {name: ada, namespace: harbour}
spec: {length: 7}
`

// TestCustomResourcesInAllRooms: a commit with a definition and its objects
// applies at once; what a custom resource owns goes with it, and it goes with
// its namespace.
func TestCustomResourcesInAllRooms(t *testing.T) {
	t.Parallel()
	c, ctx := rooms(t, "namespace", "garbagecollector"), t.Context()

	boat := &unstructured.Unstructured{}
	boat.SetAPIVersion("sea.example.com/v1")
	boat.SetKind("Boat")
	releases, err := c.Watch(ctx, &v1alpha1.ReleaseList{})
	ok(t, err)
	defer releases.Stop()
	ok(t, c.Create(ctx, &v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Name: "sea"},
		Spec: v1alpha1.GitSourceSpec{URL: repository(t, crew), Ref: v1alpha1.GitReference{Branch: "main"}}}))
	until(t, releases, func(e watch.Event) bool {
		return c.Get(ctx, client.ObjectKey{Namespace: "harbour", Name: "ada"}, boat) == nil
	})
	if length, _, _ := unstructured.NestedInt64(boat.Object, "spec", "length"); length != 7 {
		t.Errorf("applied %v", boat.Object)
	}

	owner := boat.DeepCopy()
	owner.SetResourceVersion("")
	owner.SetUID("")
	owner.SetManagedFields(nil)
	owner.SetName("bea")
	ok(t, c.Create(ctx, owner))
	owned := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "harbour", Name: "owned", Finalizers: []string{"example.com/seen"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "sea.example.com/v1", Kind: "Boat", Name: "bea", UID: owner.GetUID()}}}}
	ok(t, c.Create(ctx, owned))
	maps, err := c.Watch(ctx, &corev1.ConfigMapList{}, client.InNamespace("harbour"))
	ok(t, err)
	defer maps.Stop()
	ok(t, c.Delete(ctx, owner))
	until(t, maps, func(e watch.Event) bool {
		m := e.Object.(*corev1.ConfigMap)
		return m.Name == "owned" && m.DeletionTimestamp != nil
	})
	ok(t, c.Patch(ctx, owned, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))))

	ok(t, c.Delete(ctx, &v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Name: "sea"}}))
	namespaces, err := c.Watch(ctx, &corev1.NamespaceList{})
	ok(t, err)
	defer namespaces.Stop()
	ok(t, c.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "harbour"}}))
	until(t, namespaces, func(e watch.Event) bool {
		return e.Type == watch.Deleted && e.Object.(*corev1.Namespace).Name == "harbour"
	})
	if err := c.Get(ctx, client.ObjectKey{Namespace: "harbour", Name: "ada"}, boat); !apierrors.IsNotFound(err) {
		t.Errorf("after its namespace: %v", err)
	}
}

// TestCollectorStartsWithDefinitions: definitions that were there before the
// garbage collector do not keep it from starting, as after each restart, and
// their objects count as owners.
func TestCollectorStartsWithDefinitions(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	log := slog.New(slog.DiscardHandler)
	api, err := apiserver.Start(ctx, apiserver.Config{DataDir: t.TempDir(), Listen: netip.MustParseAddrPort("127.0.0.1:0"), Logger: log})
	ok(t, err)
	peer := api.Peer(apiserver.Masters)
	c, cache := peer.Client(), peer.Cache()
	controllers, err := reconciler.New(reconciler.Config{Client: peer.LocalClient(), Cache: cache, Logger: log, Kinds: (&server{api: api}).kinds(),
		NamespacedKinds: api.NamespacedKinds, Controllers: []string{"garbagecollector"}})
	ok(t, err)
	serving := make(chan error, 1)
	go func() { serving <- api.Run(ctx) }()
	definition := &apiextensionsv1.CustomResourceDefinition{}
	first, _, _ := strings.Cut(crew, "---")
	ok(t, yaml.Unmarshal([]byte(first), definition))
	definitions, err := c.Watch(ctx, &apiextensionsv1.CustomResourceDefinitionList{})
	ok(t, err)
	defer definitions.Stop()
	ok(t, c.Create(ctx, definition))
	until(t, definitions, func(e watch.Event) bool {
		for _, condition := range e.Object.(*apiextensionsv1.CustomResourceDefinition).Status.Conditions {
			if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
				return true
			}
		}
		return false
	})
	boat := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "sea.example.com/v1", "kind": "Boat",
		"metadata": map[string]any{"namespace": "default", "name": "ada"}, "spec": map[string]any{"length": int64(7)}}}
	ok(t, c.Create(ctx, boat))

	collecting := make(chan error, 1)
	go func() {
		collecting <- runAll(ctx, log, []component{{"cache", cache.Start}, {"controllers", controllers.Run}})
	}()
	t.Cleanup(func() {
		stop()
		ok(t, <-collecting)
		ok(t, <-serving)
	})
	maps, err := c.Watch(ctx, &corev1.ConfigMapList{}, client.InNamespace("default"))
	ok(t, err)
	defer maps.Stop()
	ok(t, c.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "owned",
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "sea.example.com/v1", Kind: "Boat", Name: "ada", UID: boat.GetUID()}}}}))
	ok(t, c.Delete(ctx, boat))
	until(t, maps, func(e watch.Event) bool {
		return e.Type == watch.Deleted && e.Object.(*corev1.ConfigMap).Name == "owned"
	})
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func until(t *testing.T, w watch.Interface, done func(watch.Event) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		select {
		case e, open := <-w.ResultChan():
			if !open || done(e) {
				return
			}
		case <-ctx.Done():
			t.Fatal("it does not happen")
		}
	}
}

// repository makes a repository with one file.
func repository(t *testing.T, content string) string {
	t.Helper()
	dir := t.TempDir()
	ok(t, os.WriteFile(filepath.Join(dir, "all.yaml"), []byte(content), 0o644))
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "."},
		{"-c", "user.name=Jane", "-c", "user.email=jane@example.org", "commit", "-qm", "begin"}} {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1"}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v %s", args, err, out)
		}
	}
	return dir
}
