package reconciler_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/reconciler"
)

// simulated are the controllers that a simulation runs.
var simulated = []string{"deployment", "replicaset", "statefulset", "job"}

// simulation is a cluster in simulated time: the emulated API, controllers that
// are killed and start anew, watches that are late, writes that are refused or
// whose answers are lost, and an agent that starts and ends pods when it gets
// to it. After every write the promises are looked at.
type simulation struct {
	*testing.T
	api  *fakecluster.Cluster
	mu   sync.Mutex // guards what follows
	rng  *rand.Rand
	calm bool // nothing goes wrong any more
	// ready tells that the Deployment's pods have all been available once.
	ready bool
}

func (s *simulation) chance(percent int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.calm && s.rng.IntN(100) < percent
}

func (s *simulation) upTo(d time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(s.rng.Int64N(int64(d)))
}

// passed waits until so much of the simulated time has, which it does at once
// when nobody has anything to do; false: ctx has ended before.
func passed(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// write lets a controller's write fail before, or after it has been done.
func (s *simulation) write(ctx context.Context, do func() error) error {
	if !passed(ctx, s.upTo(20*time.Millisecond)) {
		return ctx.Err()
	}
	switch {
	case s.chance(5):
		return apierrors.NewConflict(corev1.Resource("things"), "it", fmt.Errorf("somebody was quicker"))
	case s.chance(5):
		return apierrors.NewServiceUnavailable("no leader")
	}
	err := do()
	s.promises()
	if s.chance(5) {
		return apierrors.NewTimeoutError("the answer is lost", 1)
	}
	return err
}

// client is what controllers write through.
func (s *simulation) client() client.Client {
	return interceptor.NewClient(s.api, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			return s.write(ctx, func() error { return c.Create(ctx, o, options...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.UpdateOption) error {
			return s.write(ctx, func() error { return c.Update(ctx, o, options...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, options ...client.PatchOption) error {
			return s.write(ctx, func() error { return c.Patch(ctx, o, p, options...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.DeleteOption) error {
			return s.write(ctx, func() error { return s.remove(ctx, o, options...) })
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, options ...client.SubResourceUpdateOption) error {
			return s.write(ctx, func() error { return c.SubResource(sub).Update(ctx, o, options...) })
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, options ...client.SubResourcePatchOption) error {
			return s.write(ctx, func() error { return c.SubResource(sub).Patch(ctx, o, p, options...) })
		},
	})
}

// terminating keeps a deleted pod until the agent has ended it.
const terminating = "simulation/agent"

// remove deletes as the API does: pods end gracefully.
func (s *simulation) remove(ctx context.Context, o client.Object, options ...client.DeleteOption) error {
	if p, ok := o.(*corev1.Pod); ok {
		now := &corev1.Pod{}
		if err := s.api.Get(ctx, client.ObjectKeyFromObject(p), now); err != nil {
			return err
		}
		if now.DeletionTimestamp == nil && !slices.Contains(now.Finalizers, terminating) {
			now.Finalizers = append(now.Finalizers, terminating)
			if err := s.api.Update(ctx, now); err != nil {
				return err
			}
		}
	}
	return s.api.Delete(ctx, o, options...)
}

// late is a cache whose events come late, in order.
type late struct {
	cache.Cache
	s *simulation
}

func (l late) GetInformer(ctx context.Context, o client.Object, options ...cache.InformerGetOption) (cache.Informer, error) {
	i, err := l.Cache.GetInformer(ctx, o, options...)
	return lateInformer{i, ctx, l.s}, err
}

type lateInformer struct {
	cache.Informer
	ctx context.Context
	s   *simulation
}

func (i lateInformer) AddEventHandlerWithOptions(h toolscache.ResourceEventHandler, options toolscache.HandlerOptions) (toolscache.ResourceEventHandlerRegistration, error) {
	events := make(chan func(), 10000)
	go func() {
		for {
			select {
			case <-i.ctx.Done():
				return
			case deliver := <-events:
				if !i.s.chance(20) || passed(i.ctx, i.s.upTo(3*time.Second)) {
					deliver()
				}
			}
		}
	}()
	return i.Informer.AddEventHandlerWithOptions(toolscache.ResourceEventHandlerDetailedFuncs{
		AddFunc:    func(o any, initial bool) { events <- func() { h.OnAdd(o, initial) } },
		UpdateFunc: func(before, after any) { events <- func() { h.OnUpdate(before, after) } },
		DeleteFunc: func(o any) { events <- func() { h.OnDelete(o) } },
	}, options)
}

// controllers run until ctx ends, and are killed and started anew meanwhile.
func (s *simulation) controllers(ctx context.Context) {
	for ctx.Err() == nil {
		life, kill := context.WithCancel(ctx)
		objects := s.api.NewCache(life)
		r, err := reconciler.New(reconciler.Config{Client: s.client(), Cache: late{objects, s}, Clock: clock.RealClock{}, Controllers: simulated})
		if err != nil {
			s.Error(err)
			kill()
			return
		}
		done := make(chan error, 1)
		go func() { done <- r.Run(life) }()
		next := 5*time.Second + s.upTo(40*time.Second)
		s.mu.Lock()
		if s.calm {
			next = time.Hour
		}
		s.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(next):
		}
		kill()
		if err := <-done; err != nil {
			s.Errorf("controllers: %v", err)
		}
		objects.Wait()
	}
}

// agent gives pods a node, lets them run, ends those that are deleted and those
// of Jobs, some of them badly.
func (s *simulation) agent(ctx context.Context) {
	for passed(ctx, 100*time.Millisecond+s.upTo(time.Second)) {
		var list corev1.PodList
		if err := s.api.List(ctx, &list); err != nil {
			return
		}
		for i := range list.Items {
			if s.chance(30) {
				continue // later
			}
			if s.advance(ctx, &list.Items[i]) {
				s.promises()
			}
		}
	}
}

// advance takes a pod one step on, and tells whether there was one to take. A
// lost race is tried again the next time.
func (s *simulation) advance(ctx context.Context, p *corev1.Pod) bool {
	now := metav1.Now()
	over := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	switch {
	case p.DeletionTimestamp != nil:
		if !over && p.Labels["app"] == "work" {
			p.Status.Phase = corev1.PodFailed
			return s.api.Status().Update(ctx, p) == nil
		}
		p.Finalizers = slices.DeleteFunc(p.Finalizers, func(f string) bool { return f == terminating })
		return s.api.Update(ctx, p) == nil
	case over:
	case p.Spec.NodeName == "":
		p.Spec.NodeName = "n1"
		return s.api.Update(ctx, p) == nil
	case p.Status.Phase != corev1.PodRunning:
		p.Status.Phase, p.Status.StartTime = corev1.PodRunning, &now
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: now}}
		return s.api.Status().Update(ctx, p) == nil
	case p.Labels["app"] == "work":
		p.Status.Phase = corev1.PodSucceeded
		if s.chance(20) {
			p.Status.Phase = corev1.PodFailed
		}
		p.Status.Conditions = nil
		return s.api.Status().Update(ctx, p) == nil
	case p.Labels["app"] == "store" && s.chance(2): // it loses its readiness for a while
		p.Status.Phase, p.Status.Conditions = corev1.PodPending, nil
		return s.api.Status().Update(ctx, p) == nil
	}
	return false
}

const (
	replicas    = 5
	surge       = 2
	unavailable = 1
	completes   = 12
)

// promises are what must be true at every moment.
func (s *simulation) promises() {
	ctx := context.Background()
	var list corev1.PodList
	if err := s.api.List(ctx, &list); err != nil {
		s.Error(err)
		return
	}
	web, available, ordinals := 0, 0, map[string]types.UID{}
	for _, p := range list.Items {
		ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		switch p.Labels["app"] {
		case "web":
			if p.DeletionTimestamp != nil || ended {
				continue
			}
			if web++; p.Status.Phase == corev1.PodRunning {
				available++
			}
		case "store":
			ordinals[p.Name] = p.UID
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = s.ready || available == replicas
	if s.ready && available < replicas-unavailable {
		s.Errorf("%s: %d pods of the Deployment are available, fewer than %d without %d", time.Now().Format(time.TimeOnly), available, replicas, unavailable)
	}
	if web > replicas+surge {
		s.Errorf("%s: %d pods of the Deployment, more than %d and %d", time.Now().Format(time.TimeOnly), web, replicas, surge)
	}
	if len(ordinals) > 3 {
		s.Errorf("pods of the StatefulSet: %v", ordinals)
	}
	job := &batchv1.Job{}
	if err := s.api.Get(ctx, client.ObjectKey{Namespace: "shop", Name: "work"}, job); err == nil && job.Status.Succeeded > completes {
		s.Errorf("the Job tells of %d completions", job.Status.Succeeded)
	}
}

func template(app, version string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways, Containers: []corev1.Container{{Name: "c", Image: "i:" + version}}}}
}

// roll changes what is wanted.
func (s *simulation) roll(ctx context.Context, version string) {
	s.Helper()
	for _, o := range []client.Object{&appsv1.Deployment{}, &appsv1.StatefulSet{}} {
		for {
			name := map[bool]string{true: "web", false: "store"}[fmt.Sprintf("%T", o) == "*v1.Deployment"]
			if err := s.api.Get(ctx, client.ObjectKey{Namespace: "shop", Name: name}, o); err != nil {
				s.Fatal(err)
			}
			switch o := o.(type) {
			case *appsv1.Deployment:
				o.Spec.Template.Spec.Containers[0].Image = "i:" + version
			case *appsv1.StatefulSet:
				o.Spec.Template.Spec.Containers[0].Image = "i:" + version
			}
			err := s.api.Update(ctx, o)
			if err == nil {
				break
			}
			if !apierrors.IsConflict(err) {
				s.Fatal(err)
			}
		}
	}
}

func (s *simulation) settled(ctx context.Context, version string) string {
	var list corev1.PodList
	if err := s.api.List(ctx, &list); err != nil {
		return err.Error()
	}
	count := map[string]int{}
	for _, p := range list.Items {
		if app := p.Labels["app"]; app == "work" {
			if len(p.Finalizers) > 0 {
				return p.Name + " is still counted"
			}
		} else if p.DeletionTimestamp != nil || p.Spec.Containers[0].Image != "i:"+version || p.Status.Phase != corev1.PodRunning {
			return p.Name + " is not of the last version, or does not run"
		} else {
			count[app]++
		}
	}
	job := &batchv1.Job{}
	if err := s.api.Get(ctx, client.ObjectKey{Namespace: "shop", Name: "work"}, job); err != nil {
		return err.Error()
	}
	if count["web"] != replicas || count["store"] != 3 || job.Status.Succeeded != completes || job.Status.CompletionTime == nil || job.Status.UncountedTerminatedPods != nil && len(job.Status.UncountedTerminatedPods.Succeeded) > 0 {
		return fmt.Sprintf("pods %v, job %+v", count, job.Status)
	}
	return ""
}

// seeds are SEED, or a few.
func seeds(t *testing.T) []uint64 {
	if text := os.Getenv("SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("SEED: %v", err)
		}
		return []uint64{seed}
	}
	return []uint64{1, 2, 3}
}

// TestPromisesInASimulation: SEED=n repeats one that has failed.
func TestPromisesInASimulation(t *testing.T) {
	for _, seed := range seeds(t) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { simulate(t, seed) })
		})
	}
}

func simulate(t *testing.T, seed uint64) {
	s := &simulation{T: t, api: fakecluster.New(clock.RealClock{}), rng: rand.New(rand.NewPCG(seed, 0))}
	selector := func(app string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
	}
	work := template("work", "1")
	work.Spec.RestartPolicy = corev1.RestartPolicyNever
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "work", UID: "job"}, Spec: batchv1.JobSpec{Completions: ptr.To(int32(completes)), Parallelism: ptr.To(int32(4)),
		BackoffLimit: ptr.To(int32(1000)), CompletionMode: ptr.To(batchv1.IndexedCompletion), Selector: selector("work"), Template: work, ManualSelector: ptr.To(true)}}
	percent := intstr.FromInt32(surge)
	for _, o := range []client.Object{
		&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: appsv1.DeploymentSpec{Replicas: ptr.To(int32(replicas)), Selector: selector("web"), Template: template("web", "1"),
			Strategy:             appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &percent, MaxUnavailable: ptr.To(intstr.FromInt32(unavailable))}},
			RevisionHistoryLimit: ptr.To(int32(3)), ProgressDeadlineSeconds: ptr.To(int32(600))}},
		&appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "store"}, Spec: appsv1.StatefulSetSpec{Replicas: ptr.To(int32(3)), Selector: selector("store"), Template: template("store", "1"), ServiceName: "store",
			PodManagementPolicy: appsv1.OrderedReadyPodManagement, UpdateStrategy: appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType}, RevisionHistoryLimit: ptr.To(int32(3))}},
		job,
	} {
		if err := s.api.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.controllers(ctx) })
	running.Go(func() { s.agent(ctx) })
	for version := 2; version <= 4; version++ {
		passed(ctx, 30*time.Second+s.upTo(90*time.Second))
		s.roll(ctx, fmt.Sprint(version))
	}
	passed(ctx, time.Minute)
	s.mu.Lock()
	s.calm = true
	s.mu.Unlock()
	var why string
	began := time.Now()
	for range 120 { // minutes: what has failed often waits long
		passed(ctx, time.Minute)
		if why = s.settled(ctx, "4"); why == "" {
			break
		}
	}
	if why != "" {
		t.Errorf("two hours later: %s", why)
	}
	t.Logf("settled after %s in calm", time.Since(began))
	stop()
	running.Wait()
	if t.Failed() {
		t.Logf("repeat it with SEED=%d", seed)
	}
}
