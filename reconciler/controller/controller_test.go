package controller_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/reconciler/controller"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a controller of ConfigMaps until the test ends.
func start(t *testing.T, tuning controller.Tuning, m *controller.Metrics, r reconcile.Func, names ...string) {
	t.Helper()
	api := fakecluster.New(clock.RealClock{})
	for _, name := range names {
		if err := api.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cache := api.NewCache(ctx)
	deps := controller.Deps{Client: api, Cache: cache, Clock: clock.RealClock{}, Logger: slog.New(slog.DiscardHandler), Events: &record.FakeRecorder{}, Tuning: tuning, Metrics: m}
	c, err := controller.New("things", deps, 2, r, controller.Self(cache, &corev1.ConfigMap{}))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		cache.Wait()
	})
}

// TestPassesAreCounted: by how they end, and how often there is another try.
func TestPassesAreCounted(t *testing.T) {
	m := controller.NewMetrics()
	var conflicts, failures atomic.Int32
	over := make(chan struct{}, 9)
	start(t, controller.Tuning{}, m, func(_ context.Context, r reconcile.Request) (reconcile.Result, error) {
		switch {
		case r.Name == "conflict" && conflicts.Add(1) == 1:
			return reconcile.Result{}, apierrors.NewConflict(corev1.Resource("configmaps"), r.Name, errors.New("changed"))
		case r.Name == "failure" && failures.Add(1) <= 2:
			return reconcile.Result{}, errors.New("broken")
		case r.Name == "again":
			over <- struct{}{}
			return reconcile.Result{RequeueAfter: time.Hour}, nil
		}
		over <- struct{}{}
		return reconcile.Result{}, nil
	}, "conflict", "failure", "again", "plain")
	for range 4 {
		<-over
	}
	want := `
# HELP headway_controller_passes_total Passes of controllers over an object, by how they ended: done, again (asked to be called again), conflict or error.
# TYPE headway_controller_passes_total counter
headway_controller_passes_total{name="things",result="again"} 1
headway_controller_passes_total{name="things",result="conflict"} 1
headway_controller_passes_total{name="things",result="done"} 3
headway_controller_passes_total{name="things",result="error"} 2
# HELP workqueue_depth How many objects wait for a pass.
# TYPE workqueue_depth gauge
workqueue_depth{name="things"} 0
# HELP workqueue_retries_total Objects that wait for another try after a failure, each time they do.
# TYPE workqueue_retries_total counter
workqueue_retries_total{name="things"} 2
`
	names := []string{"headway_controller_passes_total", "workqueue_depth", "workqueue_retries_total"}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.After(10 * time.Second); ; { // a pass is counted after it has said so
		err := testutil.CollectAndCompare(m, strings.NewReader(want), names...)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatal(err)
		}
	}
}

// TestTuning: an operator gets as many workers as wished, and the waits.
func TestTuning(t *testing.T) {
	var now atomic.Int32
	four := make(chan struct{})
	tries := make(chan time.Time, 9)
	start(t, controller.Tuning{Workers: 5, FirstRetry: 300 * time.Millisecond, LastRetry: 300 * time.Millisecond}, nil, func(ctx context.Context, r reconcile.Request) (reconcile.Result, error) {
		if r.Name == "failure" {
			tries <- time.Now()
			return reconcile.Result{}, errors.New("broken")
		}
		if now.Add(1) == 4 {
			close(four)
		}
		select {
		case <-four:
		case <-ctx.Done():
		}
		return reconcile.Result{}, nil
	}, "a", "b", "c", "d", "failure")
	select {
	case <-four:
	case <-time.After(20 * time.Second):
		t.Fatalf("%d at a time", now.Load())
	}
	if waited := -(<-tries).Sub(<-tries); waited < 300*time.Millisecond {
		t.Errorf("tried again after %s", waited)
	}
}

func TestOneWorkerStaysAlone(t *testing.T) {
	deps := controller.Deps{Logger: slog.New(slog.DiscardHandler), Tuning: controller.Tuning{Workers: 3}}
	r := reconcile.Func(func(context.Context, reconcile.Request) (reconcile.Result, error) { return reconcile.Result{}, nil })
	if _, err := controller.New[reconcile.Request]("things", deps, 1, r); err == nil || !strings.Contains(err.Error(), "cannot have 3") {
		t.Errorf("error %v", err)
	}
}
