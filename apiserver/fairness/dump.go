package fairness

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"k8s.io/apiserver/pkg/util/flowcontrol/debug"
)

// DumpPath is what the dumps are served below.
const DumpPath = "/debug/api_priority_and_fairness/"

// ServeHTTP answers dump_priority_levels, dump_queues and dump_requests below
// DumpPath, as comma-separated columns.
func (f *Fairness) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	dumps := map[string]func(*strings.Builder){"dump_priority_levels": f.dumpLevels, "dump_queues": f.dumpQueues, "dump_requests": f.dumpRequests}
	dump := dumps[strings.TrimPrefix(r.URL.Path, DumpPath)]
	if dump == nil {
		http.NotFound(w, r)
		return
	}
	var b strings.Builder
	dump(&b)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprint(w, b.String()) // an error means that the client is gone
}

// each visits the levels by name with what is in their queues.
func (f *Fairness) each(visit func(l *level, queues debug.QueueSetDump)) {
	levels := f.now.Load().levels
	for _, name := range slices.Sorted(maps.Keys(levels)) {
		l, dump := levels[name], debug.QueueSetDump{}
		if queues := l.queueSet(); queues != nil {
			dump = queues.Dump(false)
		}
		visit(l, dump)
	}
}

func (f *Fairness) dumpLevels(b *strings.Builder) {
	b.WriteString("PriorityLevelName, ActiveQueues, IsIdle, WaitingRequests, SeatsInUse, SeatsWaiting, Seats, DispatchedRequests, RejectedRequests\n")
	dispatched, rejected := map[string]int64{}, map[string]int64{}
	for _, p := range f.now.Load().schemas {
		dispatched[p.level.name] += p.counts.dispatched.Load()
		rejected[p.level.name] += p.counts.full.Load() + p.counts.limit.Load() + p.counts.timeout.Load() + p.counts.cancelled.Load()
	}
	f.each(func(l *level, queues debug.QueueSetDump) {
		active := 0
		for _, q := range queues.Queues {
			if len(q.Requests)+q.ExecutingRequests > 0 {
				active++
			}
		}
		l.mu.Lock()
		direct, queued, seats := l.direct, l.queued, l.current
		l.mu.Unlock()
		fmt.Fprintf(b, "%s, %d, %v, %d, %d, %d, %d, %d, %d\n", l.name, active, direct+queued == 0, queues.Waiting, direct+queues.SeatsInUse, queues.SeatsWaiting,
			seats, dispatched[l.name], rejected[l.name])
	})
}

func (f *Fairness) dumpQueues(b *strings.Builder) {
	b.WriteString("PriorityLevelName, Index, PendingRequests, ExecutingRequests, SeatsInUse, NextDispatchR, InitialSeatsSum, MaxSeatsSum, TotalWorkSum\n")
	f.each(func(l *level, queues debug.QueueSetDump) {
		for i, q := range queues.Queues {
			fmt.Fprintf(b, "%s, %d, %d, %d, %d, %s, %d, %d, %s\n", l.name, i, len(q.Requests), q.ExecutingRequests, q.SeatsInUse, q.NextDispatchR,
				q.QueueSum.InitialSeatsSum, q.QueueSum.MaxSeatsSum, q.QueueSum.TotalWorkSum)
		}
	})
}

func (f *Fairness) dumpRequests(b *strings.Builder) {
	b.WriteString("PriorityLevelName, FlowSchemaName, QueueIndex, RequestIndexInQueue, FlowDistinguisher, ArriveTime, InitialSeats\n")
	f.each(func(l *level, queues debug.QueueSetDump) {
		for i, q := range queues.Queues {
			for j, r := range q.Requests {
				fmt.Fprintf(b, "%s, %s, %d, %d, %s, %s, %d\n", l.name, r.MatchedFlowSchema, i, j, r.FlowDistinguisher,
					r.ArriveTime.UTC().Format(time.RFC3339Nano), r.WorkEstimate.InitialSeats)
			}
		}
	})
}
