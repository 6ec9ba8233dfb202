package rest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/headway-sh/headway/apiserver/kinds"
)

// TestEveryKindIsServed lists every row of the table in every shape.
func TestEveryKindIsServed(t *testing.T) {
	w := newWorld(t)
	for _, k := range kinds.All() {
		path := "/apis/" + k.GVK.GroupVersion().String() + "/" + k.Plural
		if k.GVK.Group == "" {
			path = "/api/v1/" + k.Plural
		}
		_, protobuf := k.New().(interface{ Marshal() ([]byte, error) })
		for accept, want := range map[string]string{
			"application/json": fmt.Sprintf(`{"kind":"%sList","apiVersion":%q,"metadata":{"resourceVersion":`, k.GVK.Kind, k.GVK.GroupVersion()),
			"application/json;as=Table;v=v1;g=meta.k8s.io":                     `{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":`,
			"application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io": `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":`,
			"application/vnd.kubernetes.protobuf":                              "k8s\x00",
		} {
			response := w.get(path, "Accept", accept)
			body := read(t, response)
			if strings.HasSuffix(accept, "protobuf") && !protobuf {
				if response.StatusCode != http.StatusNotAcceptable {
					t.Errorf("%s has no protobuf form: %s", path, response.Status)
				}
				continue
			}
			if response.StatusCode != http.StatusOK || !strings.HasPrefix(body, want) {
				t.Errorf("%s as %s: %s %.200q", path, accept, response.Status, body)
			}
		}
		if k.Computed != nil {
			continue // there is nothing to watch
		}
		bookmarked := w.get(path + "?watch=1&timeoutSeconds=5&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&fieldSelector=metadata.name%3Dnone")
		if got := frames(t, bookmarked, 1)[0]; got.Type != "BOOKMARK" || got.Object.Kind != k.GVK.Kind {
			t.Errorf("watch of %s: %+v", path, got)
		}
		bookmarked.Body.Close()
	}
}

func findKind(name string) (schema.GroupVersionResource, bool) {
	for _, k := range kinds.All() {
		if k.GVK.Kind == name {
			return k.GVR(), true
		}
	}
	return schema.GroupVersionResource{}, false
}

// TestCustomGroup goes through the project's own group with a client that
// knows no types.
func TestCustomGroup(t *testing.T) {
	w := newWorld(t)
	client, err := dynamic.NewForConfig(w.config("alice"))
	check(t, err)
	row, ok := findKind("GitSource")
	if !ok {
		t.Fatal("the table has no GitSource")
	}
	sources := client.Resource(row)
	made, err := sources.Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": row.GroupVersion().String(), "kind": "GitSource", "metadata": map[string]any{"name": "main"},
		"spec": map[string]any{"url": "/srv/git/main.git"}}}, metav1.CreateOptions{})
	check(t, err)
	if made.GetUID() == "" || made.GetKind() != "GitSource" || made.GetAPIVersion() != row.GroupVersion().String() {
		t.Errorf("made %v", made.Object)
	}
	list, err := sources.List(t.Context(), metav1.ListOptions{})
	check(t, err)
	if len(list.Items) != 1 {
		t.Errorf("list %v", list.Items)
	}
	k := newKubectl(t, w)
	contains(t, k.ok("", "get", "gitsources"), "main")
	contains(t, k.ok("", "explain", "gitsource.spec"), "FIELDS:", "url")
}

func TestDryRun(t *testing.T) {
	w := newWorld(t)
	w.namespace("shop")
	c := w.client("alice").CoreV1().ConfigMaps("shop")
	made, err := c.Create(t.Context(), configMap("a"), metav1.CreateOptions{DryRun: []string{"All"}})
	check(t, err)
	if made.UID == "" {
		t.Error("a dry run shows what the server would set")
	}
	list, err := c.List(t.Context(), metav1.ListOptions{})
	check(t, err)
	if len(list.Items) != 0 {
		t.Error("a dry run has written")
	}
}

func TestDeleteCollection(t *testing.T) {
	w := newWorld(t)
	w.namespace("shop")
	c := w.client("alice").CoreV1().ConfigMaps("shop")
	for _, name := range []string{"a", "b", "c"} {
		m := configMap(name)
		m.Labels = map[string]string{"keep": fmt.Sprint(name == "b")}
		_, err := c.Create(t.Context(), m, metav1.CreateOptions{})
		check(t, err)
	}
	response := w.request(http.MethodDelete, maps+"?labelSelector=keep%3Dfalse", `{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Background"}`)
	var gone corev1.ConfigMapList
	check(t, json.Unmarshal([]byte(read(t, response)), &gone))
	if len(gone.Items) != 2 {
		t.Errorf("%s: %d deleted", response.Status, len(gone.Items))
	}
	list, err := c.List(t.Context(), metav1.ListOptions{})
	check(t, err)
	if len(list.Items) != 1 || list.Items[0].Name != "b" {
		t.Errorf("left %v", list.Items)
	}
}

func TestKubectlWatchesAndWaits(t *testing.T) {
	w := newWorld(t)
	w.namespace("default")
	k := newKubectl(t, w)
	k.ok(fmt.Sprintf(deployment, 2, ""), "apply", "-f", "-")
	client := w.client("admin")
	waited := make(chan string, 1)
	go func() {
		out, errs, _ := k.run("", "rollout", "status", "deployment/web", "--timeout=20s")
		waited <- out + errs
	}()
	d, err := client.AppsV1().Deployments("default").Get(t.Context(), "web", metav1.GetOptions{})
	check(t, err)
	d.Status.ObservedGeneration, d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.AvailableReplicas, d.Status.ReadyReplicas = d.Generation, 2, 2, 2, 2
	_, err = client.AppsV1().Deployments("default").UpdateStatus(t.Context(), d, metav1.UpdateOptions{})
	check(t, err)
	contains(t, <-waited, "successfully rolled out")
	contains(t, k.ok("", "get", "deploy", "web"), "2/2")
	out, _, _ := k.run("", "get", "deploy", "-w", "--request-timeout=2s")
	contains(t, out, "NAME", "web")
	if strings.Count(out, "NAME") != 1 {
		t.Errorf("the heading comes once:\n%s", out)
	}
}
