package eviction_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"github.com/headway-sh/headway/nodeagent/eviction"
)

const gib = 1 << 30

func TestParse(t *testing.T) {
	t.Parallel()
	got, err := eviction.Parse("nodefs.available<10%,memory.available<100Mi, pid.available<0", "memory.available<1.5Gi", "memory.available=1m30s", "nodefs.available=2Gi")
	want := []eviction.Threshold{
		{Signal: eviction.MemoryAvailable, Below: eviction.Amount{Value: 100 << 20}},
		{Signal: eviction.NodeAvailable, Below: eviction.Amount{Percent: 10}, Reclaim: eviction.Amount{Value: 2 * gib}},
		{Signal: eviction.MemoryAvailable, Below: eviction.Amount{Value: gib + gib/2}, Grace: 90 * time.Second},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	for name, tt := range map[string]struct{ hard, soft, grace, want string }{
		"no such signal":     {"memory<1Gi", "", "", `"memory" is no signal`},
		"no amount":          {"memory.available<much", "", "", `"much" is no amount`},
		"above the whole":    {"nodefs.available<120%", "", "", "between 0% and 100%"},
		"not a threshold":    {"memory.available", "", "", "is not signal<value"},
		"twice":              {"pid.available<1,pid.available<2", "", "", "there twice"},
		"soft without grace": {"", "memory.available<1Gi", "", "has no grace period"},
	} {
		if _, err := eviction.Parse(tt.hard, tt.soft, tt.grace, ""); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// step is one look: the memory that is available at a time.
type step struct {
	at        time.Duration
	available int64
	pressure  bool
	act       bool
}

func TestLook(t *testing.T) {
	t.Parallel()
	hard := eviction.Threshold{Signal: eviction.MemoryAvailable, Below: eviction.Amount{Value: gib}}
	soft := eviction.Threshold{Signal: eviction.MemoryAvailable, Below: eviction.Amount{Value: 2 * gib}, Grace: time.Minute}
	reclaiming := hard
	reclaiming.Reclaim = eviction.Amount{Value: gib}
	for name, tt := range map[string]struct {
		thresholds []eviction.Threshold
		steps      []step
	}{
		"hard at once, condition stays": {[]eviction.Threshold{hard}, []step{
			{0, 2 * gib, false, false}, {10 * time.Second, gib - 1, true, true}, {20 * time.Second, gib, true, false},
			{5*time.Minute + 9*time.Second, gib, true, false}, {5*time.Minute + 10*time.Second, gib, false, false},
		}},
		"soft after its grace": {[]eviction.Threshold{soft}, []step{
			{0, gib, true, false}, {59 * time.Second, gib, true, false}, {time.Minute, gib, true, true},
			{70 * time.Second, 2 * gib, true, false}, {80 * time.Second, gib, true, false}, {140 * time.Second, gib, true, true},
		}},
		"more has to be there once it was met": {[]eviction.Threshold{reclaiming}, []step{
			{0, gib, false, false}, {time.Second, gib - 1, true, true}, {2 * time.Second, gib, true, true}, {3 * time.Second, 2 * gib, true, false}, {4 * time.Second, gib, true, false},
		}},
		"both": {[]eviction.Threshold{hard, soft}, []step{{0, gib, true, false}, {time.Second, gib - 1, true, true}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var m eviction.Memory
			start := time.Unix(1000, 0)
			for i, s := range tt.steps {
				var v eviction.Verdict
				v, m = eviction.Look(tt.thresholds, 5*time.Minute, m, eviction.Observations{eviction.MemoryAvailable: {Available: s.available, Capacity: 8 * gib}}, start.Add(s.at))
				if v.Pressure[corev1.NodeMemoryPressure] != s.pressure || (v.Act != nil) != s.act {
					t.Errorf("step %d: pressure %v, act %v", i, v.Pressure, v.Act)
				}
			}
		})
	}
}

// TestMemoryComesFirst acts on memory before disk, and on nothing that cannot
// be read.
func TestMemoryComesFirst(t *testing.T) {
	t.Parallel()
	thresholds, err := eviction.Parse(eviction.DefaultHard, "", "", "")
	if err != nil {
		t.Fatal(err)
	}
	v, _ := eviction.Look(thresholds, time.Minute, eviction.Memory{}, eviction.Observations{
		eviction.MemoryAvailable: {0, gib}, eviction.NodeAvailable: {0, gib}, eviction.PIDAvailable: {0, 0},
	}, time.Unix(0, 0))
	want := map[corev1.NodeConditionType]bool{corev1.NodeMemoryPressure: true, corev1.NodeDiskPressure: true}
	if diff := cmp.Diff(want, v.Pressure); diff != "" || v.Act.Signal != eviction.MemoryAvailable {
		t.Errorf("act on %v (-want +got)\n%s", v.Act, diff)
	}
}

// TestNothingIsForgotten compares looks with a reference that knows the whole
// history.
func TestNothingIsForgotten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		grace := time.Duration(rapid.IntRange(0, 5).Draw(t, "grace")) * time.Second
		threshold := eviction.Threshold{Signal: eviction.PIDAvailable, Below: eviction.Amount{Value: 50}, Grace: grace}
		transition := time.Duration(rapid.IntRange(1, 5).Draw(t, "transition")) * time.Second
		var m eviction.Memory
		start := time.Unix(0, 0)
		lastMet, metSince := -1000, -1
		for at := range rapid.IntRange(1, 40).Draw(t, "looks") {
			available := rapid.Int64Range(0, 100).Draw(t, "available")
			if available < 50 {
				if lastMet != at-1 {
					metSince = at
				}
				lastMet = at
			}
			var v eviction.Verdict
			v, m = eviction.Look([]eviction.Threshold{threshold}, transition, m, eviction.Observations{eviction.PIDAvailable: {available, 100}}, start.Add(time.Duration(at)*time.Second))
			since := time.Duration(at-lastMet) * time.Second
			if want := since == 0 || since < transition; v.Pressure[corev1.NodePIDPressure] != want {
				t.Fatalf("at %d, last met %d: pressure %v", at, lastMet, v.Pressure)
			}
			if want := lastMet == at && time.Duration(at-metSince)*time.Second >= grace; (v.Act != nil) != want {
				t.Fatalf("at %d, met since %d: act %v", at, metSince, v.Act)
			}
		}
	})
}
