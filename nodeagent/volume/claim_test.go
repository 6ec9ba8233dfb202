package volume_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/internal/localvolume"
	"github.com/headway-sh/headway/nodeagent/env"
	"github.com/headway-sh/headway/nodeagent/volume"
)

func localVolume(handle string, set ...func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
	pv := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv", Labels: map[string]string{corev1.LabelHostname: "host-1"}, Finalizers: []string{localvolume.Finalizer}},
		Spec: corev1.PersistentVolumeSpec{
			ClaimRef:                      &corev1.ObjectReference{Namespace: "shop", Name: "data", UID: "c1"},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: localvolume.Driver, VolumeHandle: handle}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{"host-1"}}}}}}},
		},
	}
	for _, f := range set {
		f(pv)
	}
	return pv
}

func boundClaim(set ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "data", UID: "c1"},
		Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: "pv"}, Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
	for _, f := range set {
		f(c)
	}
	return c
}

func claimingPod() *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u1"}, Spec: corev1.PodSpec{
		SecurityContext: &corev1.PodSecurityContext{FSGroup: ptr.To(int64(4711))},
		Volumes: []corev1.Volume{{Name: "d", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data", ReadOnly: true}}}}}}
}

func withAPI(t *testing.T, objects ...client.Object) (*volume.Volumes, *fakecluster.Cluster) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to change groups")
	}
	api := fakecluster.New(clock.RealClock{}, objects...)
	return volume.New(volume.Config{Dir: t.TempDir(), LocalDir: filepath.Join(t.TempDir(), "volumes"), Client: api, Watch: api,
		NodeLabels: func() map[string]string { return map[string]string{corev1.LabelHostname: "host-1"} },
		Clock:      clock.RealClock{}, Logger: slog.New(slog.DiscardHandler)}), api
}

func TestClaims(t *testing.T) {
	t.Parallel()
	v, api := withAPI(t, localVolume("pvc-1"), boundClaim())
	pod := claimingPod()
	paths, err := v.SetUp(t.Context(), pod, env.Facts{Pod: pod})
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(v.LocalDir, "pvc-1"); paths["d"] != want {
		t.Errorf("path %s, want %s", paths["d"], want)
	}
	info, err := os.Stat(paths["d"])
	if err != nil || info.Sys().(*syscall.Stat_t).Gid != 4711 || info.Mode()&os.ModeSetgid == 0 {
		t.Errorf("%v %v", info, err)
	}
	c := &corev1.Container{Name: "c", VolumeMounts: []corev1.VolumeMount{{Name: "d", MountPath: "/data"}}}
	mounts, err := v.Mounts(pod, c, paths, nil)
	if err != nil || !slices.Contains(mounts[0].Options, "ro") {
		t.Errorf("mounts %v, %v: want read-only", mounts, err)
	}
	// What a pod has, it finds again without the API.
	for _, o := range []client.Object{boundClaim(), localVolume("pvc-1")} {
		if err := api.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	if again, err := v.SetUp(t.Context(), pod, env.Facts{Pod: pod}); err != nil || again["d"] != paths["d"] {
		t.Errorf("again %v, %v", again, err)
	}
	if err := os.WriteFile(filepath.Join(paths["d"], "kept"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := v.TearDown("u1"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(paths["d"], "kept")); err != nil {
		t.Errorf("the pod's end took the data along: %v", err)
	}
}

func TestClaimsThatCannotBeHad(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		claim *corev1.PersistentVolumeClaim
		pv    *corev1.PersistentVolume
		want  string
	}{
		"not bound":        {boundClaim(func(c *corev1.PersistentVolumeClaim) { c.Status.Phase = corev1.ClaimPending }), localVolume("x"), "not bound"},
		"of another claim": {boundClaim(), localVolume("x", func(pv *corev1.PersistentVolume) { pv.Spec.ClaimRef.UID = "c2" }), "not bound to"},
		"leads out":        {boundClaim(), localVolume("../../etc"), "not supported"},
		"hidden":           {boundClaim(), localVolume(".."), "not supported"},
		"another node's": {boundClaim(), localVolume("x", func(pv *corev1.PersistentVolume) {
			pv.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values[0] = "host-2"
		}), "not on this node"},
		"another driver": {boundClaim(), localVolume("x", func(pv *corev1.PersistentVolume) { pv.Spec.CSI.Driver = "example.com" }), "not supported"},
		"a missing path": {boundClaim(), localVolume("x", func(pv *corev1.PersistentVolume) {
			pv.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/nowhere/to/be/found"}}
		}), "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, _ := withAPI(t, test.claim, test.pv)
			pod := claimingPod()
			if _, err := v.SetUp(t.Context(), pod, env.Facts{Pod: pod}); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestReleasedVolumes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		set  func(*corev1.PersistentVolume)
		goes bool
	}{
		{name: "deleted", set: func(*corev1.PersistentVolume) {}, goes: true},
		{name: "bound", set: func(pv *corev1.PersistentVolume) { pv.Status.Phase = corev1.VolumeBound }},
		{name: "retained", set: func(pv *corev1.PersistentVolume) {
			pv.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
		}},
		{name: "another node's", set: func(pv *corev1.PersistentVolume) {
			pv.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values[0] = "host-2"
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			pv := localVolume("pvc-1", test.set)
			other := localVolume("pvc-2")
			other.Name = "other"
			v, api := withAPI(t, pv, other)
			for _, dir := range []string{"pvc-1", "pvc-2"} {
				if err := os.MkdirAll(filepath.Join(v.LocalDir, dir, "data"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for _, o := range []*corev1.PersistentVolume{pv, other} {
				if err := api.Delete(t.Context(), o); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { v.RemoveReleased(ctx, "host-1") })
			defer running.Wait()
			defer cancel()
			gone := func(o *corev1.PersistentVolume) bool {
				return apierrors.IsNotFound(api.Get(t.Context(), client.ObjectKeyFromObject(o), &corev1.PersistentVolume{}))
			}
			await(t, func() bool { return gone(other) && (!test.goes || gone(pv)) })
			_, err := os.Stat(filepath.Join(v.LocalDir, "pvc-1", "data"))
			if test.goes != os.IsNotExist(err) || test.goes != gone(pv) {
				t.Errorf("data: %v, volume gone: %v", err, gone(pv))
			}
		})
	}
}

func await(t *testing.T, done func() bool) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	timeout := time.After(20 * time.Second)
	for !done() {
		select {
		case <-ticker.C:
		case <-timeout:
			t.Fatal("not in 20 s")
		}
	}
}
