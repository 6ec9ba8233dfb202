package rest_test

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	clientrest "k8s.io/client-go/rest"
)

func (w *world) namespace(name string) {
	w.t.Helper()
	_, err := w.client("admin").CoreV1().Namespaces().Create(context.Background(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	check(w.t, err)
}

func configMap(name string, data ...string) *corev1.ConfigMap {
	c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{}}
	for i := 0; i+1 < len(data); i += 2 {
		c.Data[data[i]] = data[i+1]
	}
	return c
}

func TestVerbs(t *testing.T) {
	for _, media := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		t.Run(media, func(t *testing.T) {
			w := newWorld(t)
			w.namespace("shop")
			config := clientrest.CopyConfig(w.config("alice"))
			config.ContentType = media
			client, err := kubernetes.NewForConfig(config)
			check(t, err)
			ctx, maps := t.Context(), client.CoreV1().ConfigMaps("shop")

			changes, err := maps.Watch(ctx, metav1.ListOptions{})
			check(t, err)
			defer changes.Stop()

			made, err := maps.Create(ctx, configMap("a", "k", "v"), metav1.CreateOptions{})
			check(t, err)
			if made.ResourceVersion == "" || made.UID == "" || made.Namespace != "shop" {
				t.Errorf("created %+v", made.ObjectMeta)
			}
			if _, err := maps.Create(ctx, configMap("a"), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
				t.Errorf("second create: %v", err)
			}
			made.Data["k"] = "w"
			updated, err := maps.Update(ctx, made, metav1.UpdateOptions{})
			check(t, err)
			if _, err := maps.Update(ctx, made.DeepCopy(), metav1.UpdateOptions{}); err != nil && !apierrors.IsConflict(err) {
				t.Errorf("stale update: %v", err)
			}
			patched, err := maps.Patch(ctx, "a", types.MergePatchType, []byte(`{"data":{"x":"y"}}`), metav1.PatchOptions{})
			check(t, err)
			if patched.Data["x"] != "y" || patched.Data["k"] != "w" || patched.ResourceVersion == updated.ResourceVersion {
				t.Errorf("patched %+v", patched)
			}
			got, err := maps.Get(ctx, "a", metav1.GetOptions{})
			check(t, err)
			if got.ResourceVersion != patched.ResourceVersion {
				t.Errorf("got %s, want %s", got.ResourceVersion, patched.ResourceVersion)
			}
			list, err := maps.List(ctx, metav1.ListOptions{})
			check(t, err)
			if len(list.Items) != 1 || list.Items[0].Data["x"] != "y" || list.ResourceVersion == "" {
				t.Errorf("list %+v", list)
			}
			check(t, maps.Delete(ctx, "a", metav1.DeleteOptions{}))
			if _, err := maps.Get(ctx, "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				t.Errorf("get of what is deleted: %v", err)
			}
			for _, want := range []watch.EventType{watch.Added, watch.Modified, watch.Modified, watch.Deleted} {
				event, ok := <-changes.ResultChan()
				if !ok || event.Type != want {
					t.Fatalf("watch: %v %+v, want %s", ok, event, want)
				}
			}
		})
	}
}
