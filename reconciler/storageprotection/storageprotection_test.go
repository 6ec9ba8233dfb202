package storageprotection_test

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/storageprotection"
)

func pod(node string, volume corev1.VolumeSource) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec: corev1.PodSpec{NodeName: node, Volumes: []corev1.Volume{{Name: "data", VolumeSource: volume}}}}
}

func claimed(name string) corev1.VolumeSource {
	return corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}
}

func TestReleases(t *testing.T) {
	t.Parallel()
	claim := func(name string, finalizers ...string) client.Object {
		return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Finalizers: finalizers}}
	}
	volume := func(phase corev1.PersistentVolumePhase) client.Object {
		return &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "v", Finalizers: []string{storageprotection.VolumeFinalizer}}, Status: corev1.PersistentVolumeStatus{Phase: phase}}
	}
	protected := storageprotection.ClaimFinalizer
	tests := []struct {
		name   string
		object client.Object
		others []client.Object
		delete bool
		stays  bool
	}{
		{name: "an unused claim goes", object: claim("data", protected), delete: true},
		{name: "a used claim stays", object: claim("data", protected), others: []client.Object{pod("n1", claimed("data"))}, delete: true, stays: true},
		{name: "a pod on no node does not hold it", object: claim("data", protected), others: []client.Object{pod("", claimed("data"))}, delete: true},
		{name: "a pod with another claim does not hold it", object: claim("data", protected), others: []client.Object{pod("n1", claimed("other"))}, delete: true},
		{name: "a claim made for a pod stays", object: claim("web-data", protected),
			others: []client.Object{pod("n1", corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}})}, delete: true, stays: true},
		{name: "an older claim is protected", object: claim("data"), stays: true},
		{name: "a free volume goes", object: volume(corev1.VolumeAvailable), delete: true},
		{name: "a bound volume stays", object: volume(corev1.VolumeBound), delete: true, stays: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			clk := clocktesting.NewFakeClock(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
			api := fakecluster.New(clk, append(test.others, test.object)...)
			deps := controller.Deps{Client: api, Clock: clk, Logger: slog.New(slog.DiscardHandler)}
			if test.delete {
				if err := api.Delete(t.Context(), test.object); err != nil {
					t.Fatal(err)
				}
			}
			var r reconcile.Reconciler = &storageprotection.Claims{Deps: deps}
			finalizer := storageprotection.ClaimFinalizer
			if _, ok := test.object.(*corev1.PersistentVolume); ok {
				r, finalizer = &storageprotection.Volumes{Deps: deps}, storageprotection.VolumeFinalizer
			}
			if _, err := r.Reconcile(t.Context(), controller.Request(test.object)); err != nil {
				t.Fatal(err)
			}
			err := api.Get(t.Context(), client.ObjectKeyFromObject(test.object), test.object)
			switch {
			case !test.stays && !apierrors.IsNotFound(err):
				t.Errorf("it is still there (%v): %v", err, test.object.GetFinalizers())
			case test.stays && (err != nil || !slices.Contains(test.object.GetFinalizers(), finalizer)):
				t.Errorf("it is not protected (%v): %v", err, test.object.GetFinalizers())
			}
		})
	}
}
