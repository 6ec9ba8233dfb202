package scheduler_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/scheduler"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// binder is api/txn as far as the scheduler uses it: it applies binds to the
// emulated API, and loses those that lose says, or does not plan those that
// refuse says.
type binder struct {
	txn.Interface
	api   client.Client
	mu    sync.Mutex // guards what follows
	sizes []int
	lose  func(ref txn.Ref) error

	refuse func(ref txn.Ref) error
	over   bool
}

func (b *binder) View(context.Context) (txn.View, error) { return nil, nil }

func (b *binder) Plan(_ context.Context, _ txn.View, identity txn.Identity, changes []txn.Change) (*txn.Result, error) {
	r := &txn.Result{Identity: identity}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range changes {
		o := txn.Outcome{Change: c}
		if b.refuse != nil {
			o.Err = b.refuse(c.Ref)
		}
		r.Outcomes = append(r.Outcomes, o)
	}
	return r, nil
}

func (b *binder) Commit(ctx context.Context, r *txn.Result, options txn.CommitOptions) (*txn.Committed, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return nil, fmt.Errorf("commit: %w", txn.ErrEpoch)
	}
	if options.Epoch.Number != 7 || r.Identity.Name != "system:kube-scheduler" {
		return nil, fmt.Errorf("options %+v, identity %q", options, r.Identity.Name)
	}
	b.sizes = append(b.sizes, len(r.Outcomes))
	for _, o := range r.Outcomes {
		if b.lose == nil || options.Independent {
			break
		}
		if err := b.lose(o.Change.Ref); err != nil {
			return nil, err
		}
	}
	done := &txn.Committed{Failed: map[int]error{}}
	for i, o := range r.Outcomes {
		if b.lose != nil {
			if err := b.lose(o.Change.Ref); err != nil {
				done.Failed[i] = err
				continue
			}
		}
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: o.Change.Ref.Namespace, Name: o.Change.Ref.Name}}
		if err := b.api.SubResource(o.Change.Subresource).Create(ctx, pod, o.Change.Object.(*corev1.Binding)); err != nil {
			done.Failed[i] = err
		}
	}
	return done, nil
}

func node(name, cpu string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	n.Status.Allocatable = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("110")}
	return n
}

func pod(name, cpu string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "web:1", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}}}
	return p
}

type run struct {
	*testing.T
	api   *fakecluster.Cluster
	clock *clocktesting.FakeClock
	txn   *binder
	done  chan error
	stop  func() error

	scheduler *scheduler.Scheduler
}

func start(t *testing.T, withTxn bool, objects ...client.Object) *run {
	return startWith(t, withTxn, scheduler.Config{}, objects...)
}

func startWith(t *testing.T, withTxn bool, config scheduler.Config, objects ...client.Object) *run {
	clk := clocktesting.NewFakeClock(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	api := fakecluster.New(clk, objects...)
	r := &run{T: t, api: api, clock: clk, txn: &binder{api: api}, done: make(chan error, 1)}
	config.Client, config.Clock, config.Seed = api, clk, 1
	config.Identity, config.Epoch = txn.Identity{Name: "system:kube-scheduler"}, txn.Epoch{Name: "kube-scheduler", Number: 7}
	ctx, cancel := context.WithCancel(context.Background())
	cache := api.NewCache(ctx)
	config.Cache = cache
	if withTxn {
		config.Txn = r.txn
	}
	s, err := scheduler.New(config)
	if err != nil {
		t.Fatal(err)
	}
	r.scheduler = s
	go func() { r.done <- s.Run(ctx) }()
	r.stop = sync.OnceValue(func() error {
		cancel()
		err := <-r.done
		cache.Wait()
		return err
	})
	t.Cleanup(func() { _ = r.stop() }) // tests that care look at it themselves
	return r
}

// await polls until the condition holds, moving the clock on meanwhile.
func (r *run) await(what string, ok func() bool) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
			r.clock.Step(100 * time.Millisecond)
		case <-ctx.Done():
			r.Fatal("waited in vain: " + what)
		}
	}
}

func (r *run) byNode() map[string]int {
	var pods corev1.PodList
	if err := r.api.List(r.Context(), &pods); err != nil {
		r.Fatal(err)
	}
	count := map[string]int{}
	for _, p := range pods.Items {
		count[p.Spec.NodeName]++
	}
	return count
}

func TestBindsInBatchesAndNeverOverCommits(t *testing.T) {
	objects := []client.Object{node("n1", "4"), node("n2", "4"), node("n3", "2")}
	for i := range 12 {
		objects = append(objects, pod(fmt.Sprint("p", i), "1"))
	}
	r := start(t, true, objects...)
	r.await("ten pods bound, two waiting", func() bool { n := r.byNode(); return n[""] == 2 && n["n1"] == 4 && n["n2"] == 4 && n["n3"] == 2 })
	r.await("the reason", func() bool {
		var pods corev1.PodList
		if err := r.api.List(t.Context(), &pods); err != nil {
			t.Fatal(err)
		}
		refused := 0
		for _, p := range pods.Items {
			for _, c := range p.Status.Conditions {
				if p.Spec.NodeName == "" && c.Type == corev1.PodScheduled && c.Reason == "Unschedulable" && strings.HasPrefix(c.Message, "0/3 nodes are available: 3 Insufficient cpu.") {
					refused++
				}
			}
		}
		return refused == 2
	})
	if err := r.api.Create(t.Context(), node("n4", "8")); err != nil {
		t.Fatal(err)
	}
	r.await("the new node used", func() bool { return r.byNode()["n4"] == 2 })
	r.await("events", func() bool {
		var list corev1.EventList
		if err := r.api.List(t.Context(), &list); err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, e := range list.Items {
			seen[e.Reason+" "+strings.Fields(e.Message)[0]] = true
		}
		return seen["Scheduled Successfully"] && seen["FailedScheduling 0/3"]
	})
	r.txn.mu.Lock()
	defer r.txn.mu.Unlock()
	if r.txn.sizes[0] < 2 {
		t.Errorf("batch sizes %v: what is ready together is not bound together", r.txn.sizes)
	}
}

func TestALoserFailsAloneAndIsTriedAgain(t *testing.T) {
	r := start(t, true, node("n1", "4"))
	lost := 0
	r.txn.mu.Lock()
	r.txn.lose = func(ref txn.Ref) error {
		if ref.Name == "p1" && lost < 2 {
			lost++
			return apierrors.NewConflict(ref.Resource, ref.Name, fmt.Errorf("changed"))
		}
		return nil
	}
	r.txn.mu.Unlock()
	for i := range 3 {
		if err := r.api.Create(t.Context(), pod(fmt.Sprint("p", i), "1")); err != nil {
			t.Fatal(err)
		}
	}
	r.await("all bound", func() bool { return r.byNode()["n1"] == 3 })
}

func TestBindsThroughTheClient(t *testing.T) {
	r := start(t, false, node("n1", "4"), pod("p", "1"))
	r.await("bound", func() bool { return r.byNode()["n1"] == 1 })
	if err := r.stop(); err != nil {
		t.Errorf("cancelled run returns %v", err)
	}
}

func TestTheEndOfTheEpochEndsTheRun(t *testing.T) {
	r := start(t, true, node("n1", "4"))
	r.txn.mu.Lock()
	r.txn.over = true
	r.txn.mu.Unlock()
	if err := r.api.Create(t.Context(), pod("p", "1")); err != nil {
		t.Fatal(err)
	}
	err := <-r.done
	r.done <- err
	if err == nil || !strings.Contains(err.Error(), txn.ErrEpoch.Error()) {
		t.Errorf("run returns %v, want the end of the epoch", err)
	}
}
