package nodeagent

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/nodeagent/shutdown"
	"github.com/headway-sh/headway/nodeagent/status"
)

// lastWords is how long the statuses of pods that have ended have to reach the
// API.
const lastWords = 5 * time.Second

// Shutdown ends the node's pods because the machine goes down, and returns when
// they have ended or their time is up. No pod starts here afterwards: the agent
// has to be started anew.
func (a *Agent) Shutdown(ctx context.Context, periods shutdown.Periods) {
	a.mu.Lock()
	a.closing = true
	a.mu.Unlock()
	for _, g := range shutdown.Order(a.Holding(), periods) {
		a.Logger.Info("pods end for the machine goes down", "pods", len(g.Pods), "within", g.Period)
		timer := a.Clock.NewTimer(g.Period + 2*time.Second) // they are killed at their deadline
		var ending []*worker
		for _, pod := range g.Pods {
			if w := a.worker(pod.UID); w != nil {
				ending = append(ending, w)
				w.post(func() {
					if w.ending != nil {
						w.end(g.Grace(pod), false)
						return
					}
					w.failIn(shutdown.Reason, shutdown.Message, g.Grace(pod))
				})
			}
		}
		a.await(ctx, ending, timer.C())
		timer.Stop()
	}
	ctx, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	for _, w := range a.all() {
		if pod := w.shared.Load().api; pod != "" {
			_ = a.writer.Flush(ctx, pod) // its time is up: the checkpoint has it
		}
	}
}

func (a *Agent) await(ctx context.Context, workers []*worker, late <-chan time.Time) {
	for _, w := range workers {
		select {
		case <-w.down:
		case <-late:
			return
		case <-ctx.Done():
			return
		}
	}
}

// Closing tells whether the node takes no pods for its machine goes down.
func (a *Agent) Closing() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.closing
}

// tooLate tells why a node takes no pod that is going down; mu is held.
func (a *Agent) tooLate() *status.Failure {
	if !a.closing {
		return nil
	}
	return &status.Failure{Reason: shutdown.Rejected, Message: shutdown.RejectedMessage}
}

// outlives tells whether a pod runs again after the shutdown that ended it: what
// its node's own file says holds again.
func outlives(pod *corev1.Pod) bool { return pod.Status.Reason == shutdown.Reason }
