package apiserver_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/apiserver"
)

// TestQuotaIsNeverOverdrawn lets fifty writers fight for the last places of a
// namespace, several rounds each, with no controller to help.
func TestQuotaIsNeverOverdrawn(t *testing.T) {
	t.Parallel()
	const writers, places = 50, 120
	client := adminClient(t, start(t))
	ctx := t.Context()
	inNamespace(t, client, "shop")
	_, err := client.CoreV1().ResourceQuotas("shop").Create(ctx, &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "few"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"configmaps": resource.MustParse(fmt.Sprint(places)), "count/pods": resource.MustParse("0")}},
	}, metav1.CreateOptions{})
	check(t, err)

	var running sync.WaitGroup
	var mu sync.Mutex // guards made and slowest
	var made []string
	var slowest time.Duration
	began := time.Now()
	for w := range writers {
		running.Go(func() {
			for n := range 4 {
				name, at := fmt.Sprintf("w%d-%d", w, n), time.Now()
				_, err := client.CoreV1().ConfigMaps("shop").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
				mu.Lock()
				switch {
				case err == nil:
					made, slowest = append(made, name), max(slowest, time.Since(at))
				case !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota: few, requested: configmaps=1, used: configmaps=120, limited: configmaps=120"):
					t.Errorf("create %s: %v", name, err)
				}
				mu.Unlock()
			}
		})
	}
	running.Wait()
	t.Logf("%d creates by %d writers in %s, the slowest took %s", places, writers, time.Since(began), slowest)

	used := func() string {
		t.Helper()
		q, err := client.CoreV1().ResourceQuotas("shop").Get(ctx, "few", metav1.GetOptions{})
		check(t, err)
		return ptr.To(q.Status.Used["configmaps"]).String()
	}
	list, err := client.CoreV1().ConfigMaps("shop").List(ctx, metav1.ListOptions{})
	check(t, err)
	if len(list.Items) != places || len(made) != places || used() != fmt.Sprint(places) {
		t.Errorf("%d objects, %d told, %s charged; want %d each", len(list.Items), len(made), used(), places)
	}

	// Deletions give back at once, and in parallel.
	for _, name := range made {
		running.Go(func() {
			if err := client.CoreV1().ConfigMaps("shop").Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
				t.Errorf("delete %s: %v", name, err)
			}
		})
	}
	running.Wait()
	if used() != "0" {
		t.Errorf("%s charged after all is gone", used())
	}
	// A dry run is refused as the real thing would be, and charges nothing.
	_, err = client.CoreV1().ConfigMaps("shop").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "dry"}}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	check(t, err)
	if used() != "0" {
		t.Errorf("%s charged by a dry run", used())
	}

	// A quota that counts itself can go.
	own := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "own"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"resourcequotas": resource.MustParse("9")}}}
	_, err = client.CoreV1().ResourceQuotas("shop").Create(ctx, own, metav1.CreateOptions{})
	check(t, err)
	check(t, client.CoreV1().ResourceQuotas("shop").Delete(ctx, "few", metav1.DeleteOptions{}))
	check(t, client.CoreV1().ResourceQuotas("shop").Delete(ctx, "own", metav1.DeleteOptions{}))
	if _, err = client.CoreV1().ResourceQuotas("shop").Get(ctx, "own", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a deleted quota: %v", err)
	}
}

// Custom resources count, and whoever counts a namespace finds them by their
// resource's name.
func TestQuotaOfCustomResources(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	client := adminClient(t, s.server)
	_, err := client.CoreV1().ResourceQuotas("default").Create(t.Context(), &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "few"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/widgets.shop.example.com": resource.MustParse("1")}},
	}, metav1.CreateOptions{})
	check(t, err)
	_, err = s.widgets().Create(t.Context(), widget(t, "a", "{size: 1}"), metav1.CreateOptions{})
	check(t, err)
	_, err = s.widgets().Create(t.Context(), widget(t, "b", "{size: 1}"), metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota: few, requested: count/widgets.shop.example.com=1, used: count/widgets.shop.example.com=1, limited: count/widgets.shop.example.com=1") {
		t.Errorf("one too many: %v", err)
	}
	kind, err := s.server.Peer(apiserver.Masters).Client().RESTMapper().KindFor(schema.GroupVersionResource{Group: "shop.example.com", Resource: "widgets"})
	if want := (schema.GroupVersionKind{Group: "shop.example.com", Version: "v1", Kind: "Widget"}); err != nil || kind != want {
		t.Errorf("the kind of widgets: %v (%v), want %v", kind, err, want)
	}
}
