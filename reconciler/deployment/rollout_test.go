package deployment_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/headway-sh/headway/reconciler/deployment"
)

func TestLimitsOf(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name               string
		replicas           int32
		surge, unavailable intstr.IntOrString
		want               deployment.Limits
	}{
		{"quarter of ten", 10, intstr.FromString("25%"), intstr.FromString("25%"), deployment.Limits{Replicas: 10, Surge: 3, Unavailable: 2}},
		{"one replica", 1, intstr.FromString("25%"), intstr.FromString("25%"), deployment.Limits{Replicas: 1, Surge: 1}},
		{"nothing may move", 4, intstr.FromInt32(0), intstr.FromString("1%"), deployment.Limits{Replicas: 4, Unavailable: 1}},
		{"more than there are", 2, intstr.FromInt32(0), intstr.FromInt32(5), deployment.Limits{Replicas: 2, Unavailable: 2}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: ptr.To(test.replicas), Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &test.surge, MaxUnavailable: &test.unavailable},
			}}}
			if diff := cmp.Diff(test.want, deployment.LimitsOf(d)); diff != "" {
				t.Errorf("limits (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProportionalKeepsShares(t *testing.T) {
	t.Parallel()
	sets := []deployment.Set{{Name: "old", Replicas: 8, Max: 13}, {Name: "new", Created: time.Unix(1, 0), Replicas: 5, Max: 13}}
	got := deployment.Proportional(deployment.Limits{Replicas: 15, Surge: 3}, sets)
	if diff := cmp.Diff([]int32{11, 7}, got); diff != "" {
		t.Errorf("10+3 to 15+3 (-want +got):\n%s", diff)
	}
}

// TestProportionalFillsTheCeiling: whatever the shares, the sum comes out.
func TestProportionalFillsTheCeiling(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := deployment.Limits{Replicas: rapid.Int32Range(0, 60).Draw(t, "replicas"), Surge: rapid.Int32Range(0, 20).Draw(t, "surge")}
		n := rapid.IntRange(1, 4).Draw(t, "sets")
		sets := make([]deployment.Set, n)
		for i := range sets {
			sets[i] = deployment.Set{Replicas: rapid.Int32Range(1, 40).Draw(t, "size"), Max: rapid.Int32Range(0, 60).Draw(t, "max"), Created: time.Unix(int64(i), 0)}
		}
		var sum int32
		for _, r := range deployment.Proportional(l, sets) {
			if r < 0 {
				t.Fatalf("negative replicas %d", r)
			}
			sum += r
		}
		if sum != l.Ceiling() {
			t.Fatalf("sum %d, want %d", sum, l.Ceiling())
		}
	})
}

// world plays the replica set controller and the nodes at random speed: pods
// become available, break, and are removed, the unavailable first.
type world struct {
	limits deployment.Limits
	sets   []deployment.Set // the last one is the new one
}

func (w *world) total() (replicas, available int32) {
	for _, s := range w.sets {
		replicas += s.Replicas
		available += s.Available
	}
	return replicas, available
}

func (w *world) step(t *rapid.T) {
	last := len(w.sets) - 1
	total, before := w.total()
	w.sets[last].Replicas = deployment.GrowNew(w.limits, w.sets[last].Replicas, total)
	for i, r := range deployment.ShrinkOld(w.limits, w.sets[last], w.sets[:last]) {
		if r < 0 || r > w.sets[i].Replicas {
			t.Fatalf("old set goes from %d to %d", w.sets[i].Replicas, r)
		}
		w.sets[i].Replicas = r
		w.sets[i].Available = min(w.sets[i].Available, r)
	}
	total, after := w.total()
	if ceiling := w.limits.Replicas + w.limits.Surge; total > ceiling {
		t.Fatalf("%d pods, more than %d", total, ceiling)
	}
	if promised := w.limits.Replicas - w.limits.Unavailable; after < before && after < promised {
		t.Fatalf("%d available, fewer than the promised %d (before: %d)", after, promised, before)
	}
}

func TestRollingUpdateKeepsItsPromises(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		replicas := rapid.Int32Range(0, 20).Draw(t, "replicas")
		l := deployment.Limits{Replicas: replicas, Surge: rapid.Int32Range(0, 5).Draw(t, "surge"), Unavailable: rapid.Int32Range(0, replicas).Draw(t, "unavailable")}
		if l.Surge == 0 && l.Unavailable == 0 {
			l.Surge = 1
		}
		w := &world{limits: l}
		left := l.Replicas + l.Surge
		for i := range rapid.IntRange(1, 3).Draw(t, "old sets") {
			n := rapid.Int32Range(0, left).Draw(t, "old replicas")
			left -= n
			w.sets = append(w.sets, deployment.Set{Replicas: n, Available: rapid.Int32Range(0, n).Draw(t, "available"), Created: time.Unix(int64(i), 0)})
		}
		w.sets = append(w.sets, deployment.Set{Created: time.Unix(9, 0)})
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			w.step(t)
			for i := range w.sets {
				w.sets[i].Available = rapid.Int32Range(0, w.sets[i].Replicas).Draw(t, "now available")
			}
		}
		for range 100 { // calm: everything becomes available, and the rollout ends
			w.step(t)
			for i := range w.sets {
				w.sets[i].Available = w.sets[i].Replicas
			}
		}
		for i, s := range w.sets {
			if want := map[bool]int32{true: replicas}[i == len(w.sets)-1]; s.Replicas != want {
				t.Fatalf("set %d ends with %d replicas, want %d (%+v)", i, s.Replicas, want, w.sets)
			}
		}
	})
}
