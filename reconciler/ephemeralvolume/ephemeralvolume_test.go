package ephemeralvolume_test

import (
	"log/slog"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/ephemeralvolume"
)

func TestClaims(t *testing.T) {
	t.Parallel()
	pod := func(phase corev1.PodPhase) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u1"}, Status: corev1.PodStatus{Phase: phase},
			Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
				VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}}}}}}}}
	}
	foreign := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-scratch"}}
	for _, test := range []struct {
		name         string
		pod          *corev1.Pod
		others       []client.Object
		fails, there bool
	}{
		{name: "made for the pod", pod: pod(corev1.PodPending), there: true},
		{name: "a pod that has ended needs none", pod: pod(corev1.PodSucceeded)},
		{name: "one of the same name is not taken", pod: pod(corev1.PodPending), others: []client.Object{foreign}, fails: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			clk := clocktesting.NewFakeClock(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
			api := fakecluster.New(clk, append(test.others, test.pod)...)
			r := &ephemeralvolume.Reconciler{Deps: controller.Deps{Client: api, Clock: clk, Logger: slog.New(slog.DiscardHandler), Events: record.NewFakeRecorder(10)}}
			for range 2 {
				if _, err := r.Reconcile(t.Context(), controller.Request(test.pod)); (err != nil) != test.fails {
					t.Fatal(err)
				}
			}
			claim := &corev1.PersistentVolumeClaim{}
			err := api.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "web-scratch"}, claim)
			if there := err == nil && metav1.IsControlledBy(claim, test.pod) && claim.Labels["a"] == "b"; there != test.there {
				t.Errorf("made: %v, want %v (%v)", there, test.there, err)
			}
		})
	}
}
