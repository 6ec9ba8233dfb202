package job_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/job"
	"github.com/headway-sh/headway/reconciler/podstate"
)

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

var errCrash = errors.New("the controller died here")

// world is a Job, an API that fails at any write, before it or after it, and an
// agent that lets pods live and die. Passes come at any time or not at all, so
// late, lost and reordered events are among what happens.
type world struct {
	t       *testing.T
	random  *rand.Rand
	clock   *clocktesting.FakeClock
	api     *fakecluster.Cluster
	job     *batchv1.Job
	trouble int // per cent of writes that fail
	ends    map[string]end
}

// end is how a pod ended, and whether it still was to be counted then.
type end struct {
	index string
	good  bool
}

func newWorld(t *testing.T, seed uint64, o *batchv1.Job) *world {
	w := &world{t: t, random: rand.New(rand.NewPCG(seed, 1)), clock: clocktesting.NewFakeClock(start), ends: map[string]end{}}
	w.job = o
	w.api = fakecluster.New(w.clock, w.job)
	return w
}

// crash tells whether the next write fails.
func (w *world) crash() error {
	if w.random.IntN(100) >= w.trouble {
		return nil
	}
	if w.random.IntN(2) == 0 {
		return apierrors.NewConflict(schema.GroupResource{}, "any", errCrash)
	}
	return errCrash
}

// faulty lets a write fail before it or after it was done.
func (w *world) faulty(write func() error) error {
	if err := w.crash(); err != nil {
		return err
	}
	if err := write(); err != nil {
		return err
	}
	if err := w.crash(); err != nil {
		return err
	}
	return nil
}

func (w *world) reconciler() *job.Reconciler {
	// One worker at a time: creations in a batch run side by side.
	turn := make(chan struct{}, 1)
	alone := func(write func() error) error {
		turn <- struct{}{}
		defer func() { <-turn }()
		return w.faulty(write)
	}
	faulty := interceptor.NewClient(w.api, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			return alone(func() error { return c.Create(ctx, o, options...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.DeleteOption) error {
			return alone(func() error { return w.deleted(ctx, c, o, options...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, options ...client.PatchOption) error {
			return alone(func() error { return c.Patch(ctx, o, patch, options...) })
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, options ...client.SubResourceUpdateOption) error {
			return alone(func() error { return c.SubResource(sub).Update(ctx, o, options...) })
		},
	})
	return &job.Reconciler{Deps: controller.Deps{Client: faulty, Clock: w.clock, Logger: slog.New(slog.DiscardHandler), Events: &record.FakeRecorder{}}}
}

// deleted deletes a pod for the controller: a tracked one has then failed.
func (w *world) deleted(ctx context.Context, c client.WithWatch, o client.Object, options ...client.DeleteOption) error {
	p := &corev1.Pod{}
	if err := c.Get(ctx, client.ObjectKeyFromObject(o), p); err == nil && len(p.Finalizers) > 0 && podstate.IsActive(p) {
		w.ends[p.Name] = end{p.Annotations[batchv1.JobCompletionIndexAnnotation], false}
	}
	return c.Delete(ctx, o, options...)
}

func (w *world) read() *batchv1.Job {
	w.t.Helper()
	o := &batchv1.Job{}
	if err := w.api.Get(w.t.Context(), client.ObjectKeyFromObject(w.job), o); err != nil {
		w.t.Fatal(err)
	}
	return o
}

func (w *world) pods() []corev1.Pod {
	w.t.Helper()
	var list corev1.PodList
	if err := w.api.List(w.t.Context(), &list); err != nil {
		w.t.Fatal(err)
	}
	return list.Items
}

// pass lets the controller look once and checks what may never be.
func (w *world) pass() {
	w.t.Helper()
	before := w.read()
	_, err := w.reconciler().Reconcile(w.t.Context(), job.Request{Namespace: "shop", Name: "work"})
	if err != nil && !apierrors.IsConflict(err) && !errors.Is(err, errCrash) {
		w.t.Fatal(err)
	}
	active := 0
	for _, p := range w.pods() {
		if podstate.IsActive(&p) && p.Finalizers != nil {
			active++
		}
	}
	if active > int(*before.Spec.Parallelism) {
		w.t.Fatalf("%d active pods of %d", active, *before.Spec.Parallelism)
	}
	after := w.read()
	if after.Status.Failed < before.Status.Failed || after.Status.Succeeded < before.Status.Succeeded {
		w.t.Fatalf("counts went back: %+v, then %+v", before.Status, after.Status)
	}
	if s := after.Status; int(s.Succeeded) > w.count(true) || int(s.Failed) > w.count(false) {
		w.t.Fatalf("counted %d and %d ends of %d and %d", s.Succeeded, s.Failed, w.count(true), w.count(false))
	}
}

func (w *world) count(good bool) int {
	indexes := map[string]bool{}
	for name, e := range w.ends {
		if e.good != good {
			continue
		}
		if e.index == "" || !good {
			e.index = name
		}
		indexes[e.index] = true
	}
	return len(indexes)
}

// live moves one pod: it runs, ends, is deleted by somebody, or goes when it may.
func (w *world) live(failures, deletions int) {
	w.t.Helper()
	pods := w.pods()
	if len(pods) == 0 {
		return
	}
	p := &pods[w.random.IntN(len(pods))]
	before := podstate.IsTerminal(p)
	switch {
	case p.DeletionTimestamp != nil && !before:
		w.terminate(p, w.random.IntN(4) == 0)
	case before && w.random.IntN(10) == 0 && p.DeletionTimestamp == nil:
		if err := w.api.Delete(w.t.Context(), p); err != nil {
			w.t.Fatal(err)
		}
	case before:
	case p.Status.Phase == corev1.PodPending:
		p.Status.Phase = corev1.PodRunning
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(w.clock.Now())}}
		w.update(p)
	case w.random.IntN(100) < deletions:
		if len(p.Finalizers) == 0 {
			return // would be gone at once
		}
		w.ends[p.Name] = end{p.Annotations[batchv1.JobCompletionIndexAnnotation], false}
		if err := w.api.Delete(w.t.Context(), p); err != nil {
			w.t.Fatal(err)
		}
	default:
		w.terminate(p, w.random.IntN(100) >= failures)
	}
}

func (w *world) terminate(p *corev1.Pod, good bool) {
	p.Status.Phase = corev1.PodFailed
	if good && p.DeletionTimestamp == nil {
		p.Status.Phase = corev1.PodSucceeded
	}
	p.Status.Conditions = nil
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: map[bool]int32{true: 0, false: 3}[p.Status.Phase == corev1.PodSucceeded], FinishedAt: metav1.NewTime(w.clock.Now())}}}}
	if len(p.Finalizers) > 0 {
		w.ends[p.Name] = end{p.Annotations[batchv1.JobCompletionIndexAnnotation], p.Status.Phase == corev1.PodSucceeded}
	}
	w.update(p)
}

func (w *world) update(p *corev1.Pod) {
	w.t.Helper()
	if err := w.api.Status().Update(w.t.Context(), p); err != nil {
		w.t.Fatal(err)
	}
}

func work(change ...func(o *batchv1.Job)) *batchv1.Job {
	labels := map[string]string{batchv1.ControllerUidLabel: "job"}
	o := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "work", UID: "job"},
		Spec: batchv1.JobSpec{
			Parallelism: ptr.To[int32](3), Completions: ptr.To[int32](6), BackoffLimit: ptr.To[int32](1000), CompletionMode: ptr.To(batchv1.NonIndexedCompletion),
			Suspend: ptr.To(false), PodReplacementPolicy: ptr.To(batchv1.TerminatingOrFailed),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "i"}}}},
		},
	}
	for _, f := range change {
		f(o)
	}
	return o
}

func indexed(o *batchv1.Job) { o.Spec.CompletionMode = ptr.To(batchv1.IndexedCompletion) }

func waiting(o *batchv1.Job) { o.Spec.PodReplacementPolicy = ptr.To(batchv1.Failed) }

func perIndex(o *batchv1.Job) {
	indexed(o)
	o.Spec.BackoffLimitPerIndex = ptr.To[int32](1)
}

func suspended(o *batchv1.Job) { o.Spec.Suspend = ptr.To(true) }

func TestCountsAreExactUnderFaults(t *testing.T) {
	t.Parallel()
	for name, change := range map[string][]func(*batchv1.Job){
		"plain":               nil,
		"waiting":             {waiting},
		"indexed":             {indexed},
		"indexed, waiting":    {indexed, waiting},
		"failures by index":   {perIndex},
		"by index, waiting":   {perIndex, waiting},
		"as many as it takes": {func(o *batchv1.Job) { o.Spec.Completions = nil }},
		"few failures":        {func(o *batchv1.Job) { o.Spec.BackoffLimit = ptr.To[int32](2) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := rand.Uint64()
			for i := range uint64(2) {
				seed := base + i
				ok := t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { live(t, seed, change...) })
				if !ok {
					return
				}
			}
		})
	}
}

func live(t *testing.T, seed uint64, change ...func(*batchv1.Job)) {
	w := newWorld(t, seed, work(change...))
	w.trouble = 12
	for step := 0; !job.Finished(w.read()); step++ {
		if step == 4000 {
			t.Fatalf("no end: %+v", w.read().Status)
		}
		if step == 1500 {
			w.trouble = 0
		}
		switch w.random.IntN(8) {
		case 0, 1, 2:
			w.pass()
		case 3:
			w.clock.Step(time.Duration(w.random.IntN(400)) * time.Second)
		case 4:
			if *w.read().Spec.Suspend || w.random.IntN(8) == 0 {
				w.suspend()
			}
		default:
			w.live(25, 5)
		}
	}
	w.trouble = 0
	w.pass()
	o := w.read()
	s := o.Status
	if int(s.Succeeded) != w.count(true) || int(s.Failed) != w.count(false) {
		t.Errorf("counted %d and %d, ended %d and %d", s.Succeeded, s.Failed, w.count(true), w.count(false))
	}
	if s.Active != 0 || *s.Terminating != 0 || *s.Ready != 0 || len(s.UncountedTerminatedPods.Failed)+len(s.UncountedTerminatedPods.Succeeded) > 0 {
		t.Errorf("status of an ended Job: %+v", s)
	}
	for _, p := range w.pods() {
		if len(p.Finalizers) > 0 {
			t.Errorf("pod %s stays tracked", p.Name)
		}
	}
}

// suspend suspends the Job or lets it go on.
func (w *world) suspend() {
	o := w.read()
	o.Spec.Suspend = ptr.To(!*o.Spec.Suspend)
	if err := w.api.Update(w.t.Context(), o); err != nil {
		w.t.Fatal(err)
	}
}
