package fairness

import (
	"context"
	"runtime"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
)

// Demand, Limits and the functions below are for the tests of the sums.
type (
	Demand struct {
		Exempt               bool
		Nominal, Least, Most int
		High, Smoothed       float64
	}
	Limits struct{ Nominal, Least, Most int }
)

func Allot(total int, levels []Demand) []int {
	in := make([]demand, len(levels))
	for i, l := range levels {
		in[i] = demand{exempt: l.Exempt, limits: limits{l.Nominal, l.Least, l.Most}, high: l.High, smoothed: l.Smoothed}
	}
	return allot(total, in)
}

func ShareOut(total int, specs []flowcontrolv1.PriorityLevelConfigurationSpec) []Limits {
	var out []Limits
	for _, l := range shareOut(total, specs) {
		out = append(out, Limits{l.nominal, l.least, l.most})
	}
	return out
}

// Place names the schema and level that a request is counted for.
func (f *Fairness) Place(r *Request) (schema, level string) {
	p := f.now.Load().place(r)
	return p.schema.Name, p.level.name
}

// Seats are a level's now.
func (f *Fairness) Seats(name string) int {
	return f.now.Load().levels[name].seats()
}

// AwaitWaiting waits until so many requests wait in a level's queues.
func (f *Fairness) AwaitWaiting(ctx context.Context, name string, n int) {
	f.await(ctx, func() bool { return f.now.Load().levels[name].queueSet().Dump(false).Waiting >= n })
}

// AwaitIdle waits until nothing waits or is served in a level.
func (f *Fairness) AwaitIdle(ctx context.Context, name string) {
	f.await(ctx, func() bool { return f.idle(name) })
}

func (f *Fairness) await(ctx context.Context, done func() bool) {
	for ctx.Err() == nil && !done() {
		runtime.Gosched()
	}
}

func (f *Fairness) idle(name string) bool {
	l := f.now.Load().levels[name]
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.direct+l.queued == 0
}
