package scheduler_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/scheduler"
)

// seats is a ReservePlugin that has so many, by pod.
type seats struct {
	mu    sync.Mutex // guards taken and given
	size  int
	taken map[string]string
	given []string
}

func (s *seats) Name() string { return "Seats" }

func (s *seats) Reserve(p *corev1.Pod, node string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.taken) == s.size {
		return errors.New("no seat is left")
	}
	s.taken[p.Name] = node
	return nil
}

func (s *seats) Unreserve(p *corev1.Pod, _ string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.taken, p.Name)
	s.given = append(s.given, p.Name)
}

func (s *seats) now() (taken, given int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.taken), len(s.given)
}

func extended(own scheduler.Extensions) scheduler.Config {
	return scheduler.Config{Extensions: map[string]scheduler.Extensions{scheduler.DefaultName: own}}
}

// says awaits a pod's condition that tells why it has no node.
func (r *run) says(name, want string) {
	r.Helper()
	r.await(name+" to say "+want, func() bool {
		for _, c := range r.pod(name).Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && strings.Contains(c.Message, want) {
				return true
			}
		}
		return false
	})
}

func TestReservations(t *testing.T) {
	s := &seats{size: 2, taken: map[string]string{}}
	r := startWith(t, true, extended(scheduler.Extensions{Reserve: []scheduler.ReservePlugin{s}}), node("n1", "4"), pod("a", "1"), pod("b", "1"))
	r.await("two bound", func() bool { return r.byNode()["n1"] == 2 })
	r.create(pod("c", "1"))
	r.says("c", "Seats: no seat is left")
	s.mu.Lock()
	s.size = 3
	s.mu.Unlock()
	r.await("the third bound after its back-off", func() bool { return r.byNode()["n1"] == 3 })
	if taken, given := s.now(); taken != 3 || given != 0 {
		t.Errorf("%d taken, %d given back, want 3 and 0", taken, given)
	}
}

// TestALostBindGivesBack: what was reserved for a bind that is lost is given
// back, and reserved again with the next try.
func TestALostBindGivesBack(t *testing.T) {
	s := &seats{size: 1, taken: map[string]string{}}
	r := startWith(t, true, extended(scheduler.Extensions{Reserve: []scheduler.ReservePlugin{s}}), node("n1", "4"))
	lost := false
	r.txn.mu.Lock()
	r.txn.lose = func(ref txn.Ref) error {
		if lost {
			return nil
		}
		lost = true
		return apierrors.NewConflict(ref.Resource, ref.Name, errors.New("changed"))
	}
	r.txn.mu.Unlock()
	r.create(pod("a", "1"))
	r.await("bound", func() bool { return r.byNode()["n1"] == 1 })
	if taken, given := s.now(); taken != 1 || given != 1 {
		t.Errorf("%d taken, %d given back, want 1 and 1", taken, given)
	}
}

// TestAGangReservesAsAWhole: no seat stays taken when one is missing.
func TestAGangReservesAsAWhole(t *testing.T) {
	s := &seats{size: 1, taken: map[string]string{}}
	r := startWith(t, true, extended(scheduler.Extensions{Reserve: []scheduler.ReservePlugin{s}}), node("n1", "4"))
	r.create(inGang(pod("g0", "1"), 2), inGang(pod("g1", "1"), 2))
	r.says("g0", "Seats: no seat is left")
	if taken, _ := s.now(); taken != 0 {
		t.Errorf("%d seats taken by a gang that does not run", taken)
	}
	s.mu.Lock()
	s.size = 2
	s.mu.Unlock()
	r.await("the gang bound", func() bool { return r.byNode()["n1"] == 2 })
}

// permits says what it is told to.
type permits func(*corev1.Pod) scheduler.Permission

func (permits) Name() string { return "Permits" }

func (f permits) Permit(p *corev1.Pod, _ string) scheduler.Permission { return f(p) }

func TestPermits(t *testing.T) {
	s := &seats{size: 9, taken: map[string]string{}}
	var mu sync.Mutex // guards asked
	asked := map[string]int{}
	own := scheduler.Extensions{Reserve: []scheduler.ReservePlugin{s}, Permit: []scheduler.PermitPlugin{permits(func(p *corev1.Pod) scheduler.Permission {
		mu.Lock()
		defer mu.Unlock()
		asked[p.Name]++
		switch {
		case p.Name == "never":
			return scheduler.Permission{Refused: "not you"}
		case p.Name == "short" && asked["short"] == 1:
			return scheduler.Permission{Wait: time.Second}
		case p.Name == "long":
			return scheduler.Permission{Wait: time.Hour}
		case p.Name == "rejected" && asked["rejected"] == 1:
			return scheduler.Permission{Wait: time.Hour}
		}
		return scheduler.Permission{}
	})}}
	r := startWith(t, true, extended(own), node("n1", "9"), pod("never", "1"), pod("short", "1"), pod("long", "1"), pod("rejected", "1"), pod("free", "1"))
	r.says("never", "Permits: not you")
	r.says("short", "Permits: did not permit it in time")
	r.await("the free one and the late one", func() bool { return r.byNode()["n1"] == 2 })
	r.scheduler.Reject(r.pod("rejected").UID, "Permits", "out of luck")
	r.says("rejected", "out of luck")
	r.await("the rejected one, tried again", func() bool { return r.byNode()["n1"] == 3 })
	r.scheduler.Allow(r.pod("long").UID, "Others")
	r.scheduler.Allow(r.pod("long").UID, "Permits")
	r.await("the one that was waited for", func() bool { return r.byNode()["n1"] == 4 })
	if taken, _ := s.now(); taken != 4 {
		t.Errorf("%d seats taken, want one for each pod that runs", taken)
	}
}

// ownBinder binds pods of one name by itself.
type ownBinder struct {
	api   client.Client
	name  string
	mu    sync.Mutex // guards bound
	bound []string
}

func (*ownBinder) Name() string { return "Own" }

func (b *ownBinder) Bind(ctx context.Context, p *corev1.Pod, node string) (bool, error) {
	if p.Name != b.name {
		return true, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bound = append(b.bound, node); len(b.bound) == 1 {
		return false, errors.New("try again")
	}
	return false, b.api.SubResource("binding").Create(ctx, p.DeepCopy(), &corev1.Binding{ObjectMeta: p.ObjectMeta, Target: corev1.ObjectReference{Kind: "Node", Name: node}})
}

func TestABinderOfItsOwn(t *testing.T) {
	own := &ownBinder{name: "special"}
	r := startWith(t, true, extended(scheduler.Extensions{Bind: []scheduler.BindPlugin{own}}), node("n1", "4"))
	own.api = r.api
	r.create(pod("special", "1"), pod("usual", "1"))
	r.await("both bound", func() bool { return r.byNode()["n1"] == 2 })
	own.mu.Lock()
	defer own.mu.Unlock()
	if len(own.bound) != 2 {
		t.Errorf("the special one was bound to %v, want n1 twice", own.bound)
	}
}

// extender is interested in pods whose name begins with "asked".
type extender struct {
	ignorable bool
	filter    func(p *corev1.Pod, names []string) (map[string]bool, map[string]string, error)
	scores    map[string]int64
}

func (*extender) Name() string { return "outside" }

func (*extender) Interested(p *corev1.Pod) bool { return strings.HasPrefix(p.Name, "asked") }

func (e *extender) Ignorable() bool { return e.ignorable }

func (e *extender) Filter(_ context.Context, p *corev1.Pod, nodes []*corev1.Node) (map[string]bool, map[string]string, error) {
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	return e.filter(p, names)
}

func (e *extender) Prioritize(context.Context, *corev1.Pod, []*corev1.Node) (map[string]int64, error) {
	return e.scores, nil
}

func TestAnExtenderFiltersAndScores(t *testing.T) {
	e := &extender{scores: map[string]int64{"n1": 1e6, "n3": 1e5}, filter: func(_ *corev1.Pod, names []string) (map[string]bool, map[string]string, error) {
		fit := map[string]bool{}
		for _, n := range names {
			fit[n] = n != "n1"
		}
		return fit, map[string]string{"n1": "n1 is odd"}, nil
	}}
	r := startWith(t, true, extended(scheduler.Extensions{Extenders: []scheduler.Extender{e}}), node("n1", "4"), node("n2", "4"), node("n3", "1"), pod("asked", "1"))
	r.await("the best of those that are left", func() bool { return r.byNode()["n3"] == 1 })
	r.create(pod("asked-too", "1"))
	r.await("room counts as well", func() bool { return r.byNode()["n2"] == 1 })
	r.create(pod("asked-large", "4"))
	r.says("asked-large", "0/3 nodes are available: 1 n1 is odd, 2 Insufficient cpu.")
}

// TestASlowExtender: others are decided about meanwhile; a pod that goes while
// it is asked about is not bound.
func TestASlowExtender(t *testing.T) {
	asked, answer := make(chan string, 9), make(chan struct{})
	e := &extender{filter: func(p *corev1.Pod, names []string) (map[string]bool, map[string]string, error) {
		asked <- p.Name
		<-answer
		return map[string]bool{"n1": true}, nil, nil
	}}
	r := startWith(t, true, extended(scheduler.Extensions{Extenders: []scheduler.Extender{e}}), node("n1", "4"), pod("asked-1", "1"), pod("asked-2", "1"))
	<-asked
	<-asked
	r.create(pod("usual", "1"))
	r.await("the usual one bound", func() bool { return r.byNode()["n1"] == 1 })
	if err := r.api.Delete(t.Context(), r.pod("asked-1")); err != nil {
		t.Fatal(err)
	}
	r.create(pod("usual-2", "1"))
	r.await("the deletion known", func() bool { return r.byNode()["n1"] == 2 })
	close(answer)
	r.await("the other bound", func() bool { return r.byNode()["n1"] == 3 })
}

func TestAnExtenderThatFails(t *testing.T) {
	var mu sync.Mutex // guards why
	why := errors.New("out of order")
	filter := func(*corev1.Pod, []string) (map[string]bool, map[string]string, error) {
		mu.Lock()
		defer mu.Unlock()
		return map[string]bool{"n1": true}, nil, why
	}
	r := startWith(t, true, extended(scheduler.Extensions{Extenders: []scheduler.Extender{&extender{filter: filter}}}), node("n1", "4"), pod("asked", "1"))
	r.says("asked", "extender outside: out of order")
	mu.Lock()
	why = nil
	mu.Unlock()
	r.await("bound after its back-off", func() bool { return r.byNode()["n1"] == 1 })

	broken := func(*corev1.Pod, []string) (map[string]bool, map[string]string, error) {
		return nil, nil, errors.New("broken")
	}
	r = startWith(t, true, extended(scheduler.Extensions{Extenders: []scheduler.Extender{&extender{filter: broken, ignorable: true}}}), node("n1", "4"), pod("asked", "1"))
	r.await("bound without it", func() bool { return r.byNode()["n1"] == 1 })
}
