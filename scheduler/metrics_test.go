package scheduler_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/headway-sh/headway/scheduler"
)

func TestMetrics(t *testing.T) {
	m := scheduler.NewMetrics()
	r := startWith(t, true, scheduler.Config{Metrics: m}, node("n1", "2"), pod("a", "1"), pod("b", "1"), pod("large", "4"))
	r.await("two bound", func() bool { return r.byNode()["n1"] == 2 })
	r.says("large", "Insufficient cpu")
	want := `
# HELP scheduler_pending_pods Pods that wait: active to be decided about, backoff after a failure, unschedulable for a change that helps.
# TYPE scheduler_pending_pods gauge
scheduler_pending_pods{queue="active"} 0
scheduler_pending_pods{queue="backoff"} 0
scheduler_pending_pods{queue="unschedulable"} 1
`
	r.await("the one that waits counted", func() bool {
		return testutil.CollectAndCompare(m, strings.NewReader(want), "scheduler_pending_pods") == nil
	})
	want = `
# HELP scheduler_schedule_attempts_total Attempts to give a pod a node: scheduled, unschedulable, or error (a bind was lost or a plug-in refused).
# TYPE scheduler_schedule_attempts_total counter
scheduler_schedule_attempts_total{profile="default-scheduler",result="scheduled"} 2
scheduler_schedule_attempts_total{profile="default-scheduler",result="unschedulable"} 1
`
	r.await("the attempts counted", func() bool { // a bind is known a moment before its answer
		return testutil.CollectAndCompare(m, strings.NewReader(want), "scheduler_schedule_attempts_total") == nil
	})
	if n := testutil.CollectAndCount(m, "scheduler_pod_scheduling_sli_duration_seconds"); n != 1 {
		t.Errorf("%d series of how long it took, want one for the first attempts", n)
	}
}
