package leader_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/internal/leader"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type epochs struct {
	mu sync.Mutex // guards n
	n  int64
}

func (e *epochs) Acquire(_ context.Context, name string) (txn.Epoch, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.n++
	return txn.Epoch{Name: name, Number: e.n}, nil
}

// server campaigns until its stop is called; leads gets an epoch whenever it
// begins to lead and ends gets one when it ends.
type server struct {
	leads chan int64
	ends  chan int64
	stop  func()
}

func run(t *testing.T, api *fakecluster.Cluster, db *epochs, clk clock.WithTicker, name string, alone bool) *server {
	ctx, cancel := context.WithCancel(context.Background())
	s := &server{leads: make(chan int64, 4), ends: make(chan int64, 4)}
	done := make(chan error, 1)
	go func() {
		done <- leader.Run(ctx, leader.Config{Name: "kube-scheduler", Identity: name, DB: db, Client: api, Clock: clk, Alone: func() bool { return alone }},
			func(ctx context.Context, e txn.Epoch) error {
				s.leads <- e.Number
				<-ctx.Done()
				s.ends <- e.Number
				return nil
			})
	}()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

func lease(t *testing.T, api client.Client) *coordinationv1.Lease {
	l := &coordinationv1.Lease{}
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: "kube-system", Name: "kube-scheduler"}, l); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestAloneLeadsAtOnceAndThenWritesNothing(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	api, db := fakecluster.New(clk), &epochs{}
	s := run(t, api, db, clk, "a", true)
	if epoch := <-s.leads; epoch != 1 {
		t.Fatalf("epoch %d", epoch)
	}
	before := lease(t, api).ResourceVersion
	for range 20 {
		clk.Step(leader.Renew)
	}
	if after := lease(t, api).ResourceVersion; after != before {
		t.Errorf("an idle leader wrote its lease (%s to %s)", before, after)
	}
}

func TestAGracefulStopHandsOverAtOnce(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0)) // stands still: no time passes at all
	api, db := fakecluster.New(clk), &epochs{}
	a := run(t, api, db, clk, "a", false)
	<-a.leads
	b := run(t, api, db, clk, "b", false)
	a.stop()
	if epoch := <-b.leads; epoch != 2 {
		t.Errorf("epoch %d, want a new one", epoch)
	}
	if holder := *lease(t, api).Spec.HolderIdentity; holder != "b" {
		t.Errorf("held by %q", holder)
	}
}

func TestASilentLeaseIsTakenAfterItsDuration(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	dead := "dead"
	old := &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: &dead}}
	old.Namespace, old.Name = "kube-system", "kube-scheduler"
	api := fakecluster.New(clk, old)
	s := run(t, api, &epochs{}, clk, "b", false)
	deadline := time.After(20 * time.Second)
	for stepped := time.Duration(0); ; {
		if clk.HasWaiters() {
			clk.Step(time.Second)
			stepped += time.Second
		}
		select {
		case <-s.leads:
			if stepped < leader.Duration {
				t.Errorf("taken after %s of silence, want %s", stepped, leader.Duration)
			}
			return
		case <-deadline:
			t.Fatal("never taken")
		case <-time.After(time.Millisecond):
		}
	}
}

func TestALeaderThatLostItsLeaseStops(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	api, db := fakecluster.New(clk), &epochs{}
	a := run(t, api, db, clk, "a", false)
	<-a.leads
	l, thief := lease(t, api), "thief"
	l.Spec.HolderIdentity = &thief
	if err := api.Update(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(20 * time.Second)
	for {
		if clk.HasWaiters() {
			clk.Step(leader.Renew)
		}
		select {
		case <-a.ends:
			return
		case <-deadline:
			t.Fatal("still leads")
		case <-time.After(time.Millisecond):
		}
	}
}
