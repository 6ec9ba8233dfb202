package nodeagent

import (
	"context"
	goruntime "runtime"
	"time"
)

// placeWait is how long a start waits for others at most: one that hangs is not
// to hold up a node for good.
const placeWait = 10 * time.Second

// places bound how many containers are started at a time. Each start is a shim
// and several processes of runc: a hundred at once take much longer than a few
// at a time.
func newPlaces() chan struct{} { return make(chan struct{}, 4+2*goruntime.NumCPU()) }

// place waits until a container may be started; what it returns is to be called
// when that is done.
func (a *Agent) place(ctx context.Context) (leave func()) {
	timer := a.Clock.NewTimer(placeWait)
	defer timer.Stop()
	select {
	case a.places <- struct{}{}:
		return func() { <-a.places }
	case <-timer.C():
	case <-ctx.Done():
	}
	return func() {}
}
