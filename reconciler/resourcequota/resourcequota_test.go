package resourcequota_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/resourcequota"
)

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

type story struct {
	*testing.T
	api   *fakecluster.Cluster
	clock *clocktesting.FakeClock
	r     *resourcequota.Reconciler
}

func begin(t *testing.T, objects ...client.Object) *story {
	clk := clocktesting.NewFakeClock(start)
	api := fakecluster.New(clk, objects...)
	deps := controller.Deps{Client: api, Clock: clk, Logger: slog.New(slog.DiscardHandler), Events: &record.FakeRecorder{}}
	return &story{t, api, clk, &resourcequota.Reconciler{Deps: deps}}
}

// pass reconciles once, and gives when to look again and the status as text.
func (s *story) pass() (time.Duration, map[string]string) {
	s.Helper()
	result, err := s.r.Reconcile(s.Context(), controller.Named("shop", "few"))
	if err != nil {
		s.Fatal(err)
	}
	used := map[string]string{}
	for name, q := range s.quota().Status.Used {
		used[string(name)] = q.String()
	}
	return result.RequeueAfter, used
}

func (s *story) quota() *corev1.ResourceQuota {
	s.Helper()
	q := &corev1.ResourceQuota{}
	if err := s.api.Get(s.Context(), client.ObjectKey{Namespace: "shop", Name: "few"}, q); err != nil {
		s.Fatal(err)
	}
	return q
}

func few(hard map[corev1.ResourceName]string) *corev1.ResourceQuota {
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "few"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{}}}
	for name, limit := range hard {
		q.Spec.Hard[name] = resource.MustParse(limit)
	}
	return q
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
}

func TestCounts(t *testing.T) {
	t.Parallel()
	s := begin(t, few(map[corev1.ResourceName]string{"pods": "2", "count/secrets": "5", "count/widgets.example.com": "1"}),
		pod("a"), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s"}}, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "s"}})
	wait, used := s.pass()
	if diff := cmp.Diff(map[string]string{"pods": "1", "count/secrets": "1", "count/widgets.example.com": "0"}, used); diff != "" || wait != 0 {
		t.Errorf("look again after %s, used (-want +got):\n%s", wait, diff)
	}

	// An edit of the use is put right, but not at once; new limits are counted at once.
	q := s.quota()
	q.Status.Used["pods"] = resource.MustParse("17")
	if err := s.api.Status().Update(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if wait, used := s.pass(); wait != 10*time.Second || used["pods"] != "17" {
		t.Errorf("after an edit: look again after %s, pods %s", wait, used["pods"])
	}
	s.clock.Step(10 * time.Second)
	if _, used := s.pass(); used["pods"] != "1" {
		t.Errorf("ten seconds after an edit: pods %s, want 1", used["pods"])
	}
	q = s.quota()
	q.Spec.Hard["count/pods"] = resource.MustParse("3")
	if err := s.api.Update(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if _, used := s.pass(); used["count/pods"] != "1" {
		t.Errorf("after a new limit: %v", used)
	}
}

func TestStuckPodsStopToCount(t *testing.T) {
	t.Parallel()
	stuck := pod("stuck")
	stuck.Finalizers = []string{"example.com/hold"}
	s := begin(t, few(map[corev1.ResourceName]string{"pods": "2"}), stuck, pod("ended"))
	ended := pod("ended")
	ended.Status.Phase = corev1.PodSucceeded
	if err := s.api.Status().Update(t.Context(), ended); err != nil {
		t.Fatal(err)
	}
	if err := s.api.Delete(t.Context(), stuck, client.GracePeriodSeconds(30)); err != nil {
		t.Fatal(err)
	}
	if err := s.api.Get(t.Context(), client.ObjectKeyFromObject(stuck), stuck); err != nil {
		t.Fatal(err)
	}
	stuck.DeletionGracePeriodSeconds = ptr.To[int64](30)
	if err := s.api.Update(t.Context(), stuck); err != nil {
		t.Fatal(err)
	}
	s.clock.SetTime(stuck.DeletionTimestamp.Time) // the emulator's own time
	wait, used := s.pass()
	if used["pods"] != "1" || wait != 31*time.Second {
		t.Errorf("while it may still end: pods %s, look again after %s", used["pods"], wait)
	}
	s.clock.Step(wait)
	if wait, used := s.pass(); used["pods"] != "0" || wait != 0 {
		t.Errorf("past its time: pods %s, look again after %s", used["pods"], wait)
	}
}
