package fairness

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/util/flowcontrol/fairqueuing"
	"k8s.io/apiserver/pkg/util/flowcontrol/fairqueuing/eventclock"
	"k8s.io/apiserver/pkg/util/flowcontrol/fairqueuing/queueset"
	"k8s.io/apiserver/pkg/util/flowcontrol/request"

	"github.com/headway-sh/headway/api/txn"
)

// Defaults of Config.
const (
	// DefaultSeats is what Kubernetes serves at once: 400 reads and 200 writes.
	DefaultSeats    = 600
	DefaultPatience = 15 * time.Second
)

// period is how long seats stay as they were allotted.
const period = 10 * time.Second

// Config is what a Fairness is made of.
type Config struct {
	// Seats is how many requests of width one are served at once.
	Seats int
	// Patience is how long a request waits for its turn.
	Patience time.Duration
	// Clock defaults to the real one.
	Clock eventclock.Interface
	Log   *slog.Logger
}

// Fairness lets requests in. It is safe for concurrent use.
//
//	New ─▶ Use(objects) ─▶ Take … ; Use again whenever objects have changed
type Fairness struct {
	config  Config
	factory fairqueuing.QueueSetFactory
	seed    maphash.Seed
	now     atomic.Pointer[arrangement]
	due     atomic.Int64 // when seats are allotted anew, in Unix nanoseconds

	mu sync.Mutex // held while levels change
}

// arrangement is what objects have made of the server. It does not change, but
// for its levels' seats.
type arrangement struct {
	schemas []placed // in the order in which they are asked
	levels  map[string]*level
}

type placed struct {
	schema *flowcontrolv1.FlowSchema
	level  *level
	counts *counts
}

// New makes a Fairness with Kubernetes' own objects in force.
func New(c Config) (*Fairness, error) {
	if c.Log == nil {
		return nil, errors.New("fairness: Log is needed")
	}
	if c.Seats == 0 {
		c.Seats = DefaultSeats
	}
	if c.Patience == 0 {
		c.Patience = DefaultPatience
	}
	if c.Clock == nil {
		c.Clock = eventclock.Real{}
	}
	f := &Fairness{config: c, factory: queueset.NewQueueSetFactory(c.Clock), seed: maphash.MakeSeed()}
	f.due.Store(c.Clock.Now().Add(period).UnixNano())
	return f, f.Use(txn.Empty{})
}

// busy is what a request is told that cannot be let in.
func busy() error {
	return apierrors.NewTooManyRequests("too many requests, please try again later", 1)
}

// Take calls do when it is the request's turn and returns its error, or calls
// nothing and returns a 429. The header gets the schema and level that the
// request was counted for. do of a Brief request calls leave when it needs its
// seats no longer.
func (f *Fairness) Take(ctx context.Context, r *Request, header http.Header, do func(leave func()) error) error {
	f.adjust()
	p := f.now.Load().place(r)
	if p.schema.UID != "" {
		header.Set(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID, string(p.schema.UID))
		header.Set(flowcontrolv1.ResponseHeaderMatchedPriorityLevelConfigurationUID, string(p.level.uid))
	}
	width := 1
	if r.Width != nil {
		most := p.level.widest()
		width = min(max(1, r.Width(most)), most)
	}
	how, err := p.level.enter(f, width)
	if err != nil {
		return err
	}
	switch how {
	case refused:
		p.counts.limit.Add(1)
		return busy()
	case direct:
		p.counts.begin(width, 0)
		leave := sync.OnceFunc(func() {
			p.counts.end(width)
			f.report(p.level.exit(f, direct, width))
		})
		defer leave()
		return do(leave)
	}
	defer func() { f.report(p.level.exit(f, throughQueues, width)) }()
	defer f.adjust()
	return f.queue(ctx, p, r, width, do)
}

// report logs what should not happen to a level.
func (f *Fairness) report(err error) {
	if err != nil {
		f.config.Log.Error("seats could not be given back", "error", err)
	}
}

// queue waits for a seat in the request's own queue.
func (f *Fairness) queue(ctx context.Context, p placed, r *Request, width int, do func(leave func()) error) error {
	began := f.config.Clock.Now()
	waiting, cancel := context.WithTimeout(ctx, f.config.Patience)
	defer cancel()
	flow := flow(p.schema, r)
	note := func(in bool) {
		if in {
			p.counts.waiting.Add(1)
		} else {
			p.counts.waiting.Add(-1)
		}
	}
	turn, _ := p.level.queueSet().StartRequest(waiting, &request.WorkEstimate{InitialSeats: uint64(width)}, f.hash(p.schema.Name, flow), flow, p.schema.Name, r, nil, note)
	if turn == nil {
		p.counts.full.Add(1)
		return busy()
	}
	err, served := error(nil), false
	serve := func(leave func()) {
		served = true
		p.counts.begin(width, f.config.Clock.Since(began))
		end := sync.OnceFunc(func() { p.counts.end(width) })
		defer end()
		err = do(func() { end(); leave() })
	}
	if r.Brief {
		brief(turn, serve)
	} else {
		turn.Finish(func() { serve(func() {}) })
	}
	switch {
	case served:
		return err
	case ctx.Err() != nil:
		p.counts.cancelled.Add(1)
	default:
		p.counts.timeout.Add(1)
	}
	return busy()
}

// brief holds the seats only until serve leaves them.
func brief(turn fairqueuing.Request, serve func(leave func())) {
	begins, left := make(chan bool, 1), make(chan struct{})
	go func() {
		served := false
		turn.Finish(func() {
			served = true
			begins <- true
			<-left
		})
		if !served {
			begins <- false
		}
	}()
	if <-begins {
		leave := sync.OnceFunc(func() { close(left) })
		defer leave()
		serve(leave)
	}
}

// place finds the first schema that takes a request. The last one, catch-all,
// takes every one.
func (a *arrangement) place(r *Request) placed {
	for _, p := range a.schemas {
		if matches(p.schema, r) {
			return p
		}
	}
	return a.schemas[len(a.schemas)-1]
}

// countsOf finds the counts of a schema in its level, or begins them.
func (a *arrangement) countsOf(schema, level string) *counts {
	if a != nil {
		for _, p := range a.schemas {
			if p.schema.Name == schema && p.level.name == level {
				return p.counts
			}
		}
	}
	return newCounts(schema, level)
}

func (f *Fairness) hash(schema, flow string) uint64 {
	var h maphash.Hash
	h.SetSeed(f.seed)
	_, _ = h.WriteString(schema) // never fails
	_ = h.WriteByte(0)
	_, _ = h.WriteString(flow)
	return h.Sum64()
}

// adjust allots the seats anew when a period is over.
func (f *Fairness) adjust() {
	now, due := f.config.Clock.Now(), f.due.Load()
	if now.UnixNano() < due || !f.due.CompareAndSwap(due, now.Add(period).UnixNano()) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var levels []*level
	var demands []demand
	for _, l := range f.now.Load().levels {
		seen := l.seen.Reset()
		l.smoothed = smooth(l.smoothed, seen.Average, seen.Deviation)
		levels = append(levels, l)
		demands = append(demands, demand{exempt: l.exempt, limits: l.limits, high: seen.Max, smoothed: l.smoothed})
	}
	for i, seats := range allot(f.config.Seats, demands) {
		if err := levels[i].allot(f, seats); err != nil {
			f.config.Log.Error("seats could not be allotted", "level", levels[i].name, "error", err)
		}
	}
}

// Use puts the View's FlowSchemas and PriorityLevelConfigurations into force.
// Requests that wait or are served stay where they are.
func (f *Fairness) Use(view txn.View) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.now.Load()
	next := &arrangement{levels: map[string]*level{}}
	objects := levelsOf(view)
	specs := make([]flowcontrolv1.PriorityLevelConfigurationSpec, len(objects))
	for i, o := range objects {
		specs[i] = o.Spec
	}
	for i, l := range shareOut(f.config.Seats, specs) {
		var was *level
		if before != nil {
			was = before.levels[objects[i].Name]
		}
		n, err := f.newLevel(objects[i], l, was)
		if err != nil {
			return fmt.Errorf("put flow control into force: %w", err)
		}
		next.levels[n.name] = n
	}
	for _, s := range schemasOf(view) {
		if l := next.levels[s.Spec.PriorityLevelConfiguration.Name]; l != nil {
			next.schemas = append(next.schemas, placed{s, l, before.countsOf(s.Name, l.name)})
		}
	}
	f.now.Store(next)
	return nil
}
