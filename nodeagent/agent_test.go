package nodeagent_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/headway-sh/headway/nodeagent"
	"github.com/headway-sh/headway/nodeagent/checkpoint"
	"github.com/headway-sh/headway/nodeagent/logkeeper"
	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/runtime/emulator"
)

func TestMain(m *testing.M) {
	if os.Getenv(keeperVariable) != "" {
		if err := logkeeper.Main(context.Background(), os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// node is an agent on an emulated runtime and a fake API.
type node struct {
	t       *testing.T
	dir     string
	clock   *clocktesting.FakeClock
	runtime *emulator.Runtime
	client  client.WithWatch
	network *fakeNetwork
	cgroups *fakeCgroups
	events  *record.FakeRecorder
	config  nodeagent.Config
	agent   *nodeagent.Agent
	stop    func()

	mu      sync.Mutex // guards watched and down
	watched map[string]int
	down    error // what every API call answers
}

func newNode(t *testing.T, objects ...client.Object) *node {
	t.Helper()
	n := &node{
		t: t, dir: t.TempDir(), clock: clocktesting.NewFakeClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)),
		network: &fakeNetwork{at: map[types.UID]netip.Addr{}}, cgroups: &fakeCgroups{at: map[types.UID]bool{}},
		events: record.NewFakeRecorder(1000), watched: map[string]int{},
	}
	n.runtime = emulator.New(n.clock)
	t.Cleanup(n.runtime.Close)
	n.runtime.AddImage(runtime.Image{ID: "sha256:web", References: []string{"web:v1"}})
	n.runtime.AddImage(runtime.Image{ID: "sha256:job", References: []string{"job:v1"}})
	n.runtime.AddImage(runtime.Image{ID: "sha256:bad", References: []string{"bad:v1"}})
	n.runtime.SetProgram("web:v1", emulator.Graceful(0))
	n.runtime.SetProgram("job:v1", emulator.ExitAfter(time.Second, 0))
	n.runtime.SetProgram("bad:v1", emulator.ExitAfter(time.Second, 3))
	n.client = n.newClient(objects...)
	n.config = nodeagent.Config{
		NodeName: "n1", DataDir: n.dir, Client: n.client, Runtime: n.runtime, Network: n.network, Cgroups: n.cgroups,
		Recorder: n.events, HostIPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Clock: n.clock,
		ClusterDNS: []netip.Addr{netip.MustParseAddr("10.96.0.10")},
	}
	n.start()
	t.Cleanup(func() { n.stop() })
	return n
}

// newClient makes a fake API that answers n.down while that is set.
func (n *node) newClient(objects ...client.Object) client.WithWatch {
	byName := func(o client.Object) []string { return []string{o.GetName()} }
	return fake.NewClientBuilder().WithObjects(objects...).
		WithStatusSubresource(&corev1.Pod{}, &corev1.Node{}).
		WithIndex(&corev1.Pod{}, "spec.nodeName", func(o client.Object) []string { return []string{o.(*corev1.Pod).Spec.NodeName} }).
		WithIndex(&corev1.ConfigMap{}, "metadata.name", byName).
		WithIndex(&corev1.Secret{}, "metadata.name", byName).
		WithInterceptorFuncs(interceptor.Funcs{
			Watch: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) (watch.Interface, error) {
				if err := n.away(); err != nil {
					return nil, err
				}
				w, err := c.Watch(ctx, list, opts...)
				n.mu.Lock()
				n.watched[strings.TrimPrefix(strings.TrimSuffix(fmt.Sprintf("%T", list), "List"), "*v1.")]++
				n.mu.Unlock()
				return w, err
			},
			List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
				if err := n.away(); err != nil {
					return err
				}
				return c.List(ctx, list, opts...)
			},
			Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
				if err := n.away(); err != nil {
					return err
				}
				if o.GetUID() == "" {
					o.SetUID(uuid.NewUUID())
				}
				return c.Create(ctx, o, opts...)
			},
			Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
				options := (&client.DeleteOptions{}).ApplyOptions(opts)
				if options.GracePeriodSeconds == nil || *options.GracePeriodSeconds != 0 {
					return c.Delete(ctx, o, opts...)
				}
				if err := n.away(); err != nil {
					return err
				}
				now := o.DeepCopyObject().(client.Object)
				if err := c.Get(ctx, client.ObjectKeyFromObject(o), now); err != nil {
					return err
				}
				if options.Preconditions == nil || *options.Preconditions.UID != now.GetUID() {
					return apierrors.NewConflict(corev1.Resource("pods"), o.GetName(), errors.New("UID"))
				}
				now.SetFinalizers(nil)
				if now.GetDeletionTimestamp() == nil {
					return c.Delete(ctx, now)
				}
				return c.Update(ctx, now)
			},
			SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
				if err := n.away(); err != nil {
					return err
				}
				return c.SubResource(sub).Patch(ctx, o, patch, opts...)
			},
		}).Build()
}

func (n *node) away() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.down
}

// start runs an agent; it returns when its watches are there.
func (n *node) start() {
	n.t.Helper()
	n.mu.Lock()
	n.watched = map[string]int{}
	n.mu.Unlock()
	agent, err := nodeagent.New(n.config)
	if err != nil {
		n.t.Fatal(err)
	}
	n.agent = agent
	ctx, cancel := context.WithCancel(context.WithoutCancel(n.t.Context()))
	done := make(chan error, 1)
	go func() { done <- agent.Run(ctx) }()
	n.stop = func() {
		cancel()
		if err := <-done; err != nil {
			n.t.Errorf("run: %v", err)
		}
		n.stop = func() {}
	}
	if n.away() == nil {
		n.await("watches", func() bool {
			n.mu.Lock()
			defer n.mu.Unlock()
			return n.watched["Pod"] > 0 && n.watched["Service"] > 0
		})
	}
}

// await waits for a condition.
func (n *node) await(what string, is func() bool) {
	n.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !is() {
		if time.Now().After(deadline) {
			n.t.Fatalf("never: %s\n%s", what, n.dump())
		}
		tick := time.NewTimer(2 * time.Millisecond)
		<-tick.C
	}
}

// pod reads a pod; nil when it is gone.
func (n *node) pod(name string) *corev1.Pod {
	n.t.Helper()
	pod := &corev1.Pod{}
	err := n.client.Get(n.t.Context(), client.ObjectKey{Namespace: "default", Name: name}, pod)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return pod
}

// awaitPod waits until a pod's status is so.
func (n *node) awaitPod(name, what string, is func(*corev1.Pod) bool) *corev1.Pod {
	n.t.Helper()
	var last *corev1.Pod
	deadline := time.Now().Add(20 * time.Second)
	for {
		if last = n.pod(name); last != nil && is(last) {
			return last
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("pod %s never: %s\n%+v\n%s", name, what, last, n.dump())
		}
		tick := time.NewTimer(2 * time.Millisecond)
		<-tick.C
	}
}

// stepUntil moves the clock in steps until a condition holds.
func (n *node) stepUntil(step time.Duration, what string, is func() bool) {
	n.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !is() {
		if time.Now().After(deadline) {
			n.t.Fatalf("never: %s\n%s", what, n.dump())
		}
		n.clock.Step(step)
		tick := time.NewTimer(3 * time.Millisecond)
		<-tick.C
	}
}

func (n *node) create(o client.Object) {
	n.t.Helper()
	if err := n.client.Create(n.t.Context(), o); err != nil {
		n.t.Fatal(err)
	}
}

// remove deletes a pod as the API server does: it is marked, and the fake
// keeps it for its finalizer's sake until the agent says that it is done.
func (n *node) remove(name string) {
	n.t.Helper()
	if err := n.client.Delete(n.t.Context(), n.pod(name)); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) seen(reason string) bool {
	for {
		select {
		case e := <-n.events.Events:
			if strings.Contains(e, reason) {
				return true
			}
		default:
			return false
		}
	}
}

// empty waits until the node has nothing of any pod.
func (n *node) empty() {
	n.t.Helper()
	n.await("an empty node", func() bool {
		sandboxes, containers, err := n.runtime.List(n.t.Context())
		left := len(sandboxes) + len(containers) + n.network.left()
		for _, dir := range []string{"pods", "logs"} {
			entries, _ := os.ReadDir(filepath.Join(n.dir, dir))
			left += len(entries)
		}
		return err == nil && left == 0
	})
}

// saved are the phases of the pods in the checkpoints.
func (n *node) saved() map[types.UID]corev1.PodPhase {
	n.t.Helper()
	store, err := checkpoint.Open(filepath.Join(n.dir, "pods"), filepath.Join(n.dir, "checkpoint.key"))
	if err != nil {
		n.t.Fatal(err)
	}
	pods, _, err := store.Load()
	if err != nil {
		n.t.Fatal(err)
	}
	all := map[types.UID]corev1.PodPhase{}
	for _, p := range pods {
		all[p.UID] = p.Status.Phase
	}
	return all
}

func newPod(name, image string, change ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name), Generation: 1, Finalizers: []string{"test/kept"}},
		Spec: corev1.PodSpec{
			NodeName: "n1", RestartPolicy: corev1.RestartPolicyAlways,
			Containers: []corev1.Container{{Name: "app", Image: image, ImagePullPolicy: corev1.PullIfNotPresent}},
		},
	}
	for _, f := range change {
		f(pod)
	}
	return pod
}

func condition(pod *corev1.Pod, t corev1.PodConditionType) corev1.ConditionStatus {
	for _, c := range pod.Status.Conditions {
		if c.Type == t {
			return c.Status
		}
	}
	return ""
}

func ready(pod *corev1.Pod) bool { return condition(pod, corev1.PodReady) == corev1.ConditionTrue }

type fakeNetwork struct {
	mu   sync.Mutex // guards at
	at   map[types.UID]netip.Addr
	next byte
}

func (f *fakeNetwork) Attach(_ context.Context, pod *corev1.Pod, _ string) ([]netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.at[pod.UID]; !ok {
		f.next++
		f.at[pod.UID] = netip.AddrFrom4([4]byte{10, 244, 0, f.next})
	}
	return []netip.Addr{f.at[pod.UID]}, nil
}

func (f *fakeNetwork) Detach(_ context.Context, uid types.UID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.at, uid)
	return nil
}

func (f *fakeNetwork) Leased() (map[types.UID][]netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := map[types.UID][]netip.Addr{}
	for uid, a := range f.at {
		all[uid] = []netip.Addr{a}
	}
	return all, nil
}

func (*fakeNetwork) Sweep(context.Context, func(types.UID) bool) error { return nil }

func (f *fakeNetwork) left() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.at)
}

type fakeCgroups struct {
	mu      sync.Mutex // guards at and resizes
	at      map[types.UID]bool
	resizes int
}

func (f *fakeCgroups) Ensure(pod *corev1.Pod) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at[pod.UID] = true
	return "/headway/besteffort/pod" + string(pod.UID), nil
}

func (f *fakeCgroups) PodUsage(*corev1.Pod) runtime.Stats { return runtime.Stats{} }

func (f *fakeCgroups) Resize(_, _ *corev1.Pod) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.resizes++
	return nil
}

func (f *fakeCgroups) resized() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.resizes
}

func (f *fakeCgroups) Remove(uid types.UID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.at, uid)
	return nil
}

func (n *node) called(operation string) int {
	count := 0
	for _, c := range n.runtime.Calls() {
		if c.Operation == operation {
			count++
		}
	}
	return count
}

func (n *node) setDown(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = err
}

// atomicCodes are the exit codes that commands answer with.
type atomicCodes struct {
	mu sync.Mutex // guards at
	at map[string]int
}

func (a *atomicCodes) set(name string, code int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.at == nil {
		a.at = map[string]int{}
	}
	a.at[name] = code
}

func (a *atomicCodes) program(name string) emulator.Program {
	return func(context.Context, *emulator.Process) int {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.at[name]
	}
}

// dump is what the emulated runtime holds.
func (n *node) dump() string {
	if n.runtime == nil {
		return ""
	}
	return n.runtime.Dump()
}
