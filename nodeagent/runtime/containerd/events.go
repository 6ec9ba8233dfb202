package containerd

import (
	"context"
	"errors"
	"fmt"
	"time"

	apievents "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/events"
	"google.golang.org/protobuf/proto"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

const (
	topicExit = "/tasks/exit"
	topicOOM  = "/tasks/oom"

	// watcherBuffer is how many events a slow reader may be behind before it
	// is told to List instead.
	watcherBuffer = 256
	// containerd on this machine is back soon, or somebody has to look at it.
	reconnectWait    = 20 * time.Millisecond
	maxReconnectWait = time.Second
)

// Run listens to containerd and writes down exits until ctx ends. Whenever
// the connection was lost it settles what happened meanwhile.
func (r *Runtime) Run(ctx context.Context) error {
	defer r.settling.Wait()
	wait := reconnectWait
	for first := true; ctx.Err() == nil; {
		connected, err := r.listen(ctx, first)
		first = first && !connected
		if ctx.Err() != nil {
			return nil
		}
		if connected {
			wait = reconnectWait
			r.log.Warn("lost containerd's events", "error", err)
		}
		timer := r.clock.NewTimer(wait)
		select {
		case <-timer.C():
		case <-ctx.Done():
		}
		timer.Stop()
		wait = min(2*wait, maxReconnectWait)
	}
	return nil
}

// listen returns when the connection is lost; connected says that there was one.
func (r *Runtime) listen(ctx context.Context, first bool) (connected bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The server's filter language has no prefix match on two topics: two filters are an "or".
	incoming, failed := r.client.EventService().Subscribe(ctx, `topic=="`+topicExit+`"`, `topic=="`+topicOOM+`"`)
	if err := r.settleAll(ctx); err != nil {
		return false, err
	}
	if first {
		if err := errors.Join(r.endOrphanExecs(ctx), r.removeOrphanSnapshots(ctx)); err != nil {
			return false, fmt.Errorf("clear up after the last agent: %w", err)
		}
	} else {
		r.publish(runtime.Event{Kind: runtime.EventResync, Time: r.clock.Now()})
	}
	for {
		select {
		case e := <-incoming:
			if e != nil && e.Namespace == r.config.Namespace {
				r.take(ctx, e)
			}
		case err := <-failed:
			if err == nil {
				err = errors.New("event stream ended")
			}
			return true, err
		case <-ctx.Done():
			return true, ctx.Err()
		}
	}
}

func (r *Runtime) take(ctx context.Context, e *events.Envelope) {
	switch e.Topic {
	case topicExit:
		var exit apievents.TaskExit
		if err := proto.Unmarshal(e.Event.GetValue(), &exit); err != nil || exit.ID != exit.ContainerID {
			return // of an exec, whose caller waits for it
		}
		// Not here: the pod's lock may be held by who waits for this exit.
		r.settling.Go(func() { r.settleSoon(ctx, exit.ContainerID) })
	case topicOOM:
		var oom apievents.TaskOOM
		if err := proto.Unmarshal(e.Event.GetValue(), &oom); err != nil {
			return
		}
		m, err := r.lookup(ctx, oom.ContainerID)
		if err != nil {
			return // not ours, or removed since
		}
		r.publish(runtime.Event{Kind: runtime.EventOOM, ContainerID: oom.ContainerID, PodUID: m.PodUID, Time: e.Timestamp})
	}
}

// settleSoon settles a container as soon as that is possible: the log keeper
// may be starting anew just now. An exit that was written down by a try that
// failed later has lost its event, which a resync makes good.
func (r *Runtime) settleSoon(ctx context.Context, id string) {
	wait := reconnectWait
	for again := false; ; again = true {
		err := r.settle(ctx, id)
		if err == nil && again {
			r.publish(runtime.Event{Kind: runtime.EventResync, Time: r.clock.Now()})
		}
		if err == nil || ctx.Err() != nil {
			return
		}
		r.log.Error("settle container", "container", id, "error", err, "again in", wait)
		timer := r.clock.NewTimer(wait)
		select {
		case <-timer.C():
		case <-ctx.Done():
		}
		timer.Stop()
		wait = min(2*wait, maxReconnectWait)
	}
}

// Events implements runtime.Interface.
func (r *Runtime) Events(ctx context.Context) <-chan runtime.Event {
	in, out := make(chan runtime.Event, watcherBuffer), make(chan runtime.Event)
	r.mu.Lock()
	r.watchers[in] = struct{}{}
	r.mu.Unlock()
	go func() {
		defer close(out)
		defer func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.watchers, in)
		}()
		for {
			select {
			case e := <-in:
				select {
				case out <- e:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// publish gives the event to every watcher. One whose buffer is full loses
// its oldest event for a Resync.
func (r *Runtime) publish(e runtime.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for in := range r.watchers {
		select {
		case in <- e:
			continue
		default:
		}
		select { // only this function sends, and it holds mu: now there is room
		case <-in:
		default:
		}
		in <- runtime.Event{Kind: runtime.EventResync, Time: e.Time}
	}
}
