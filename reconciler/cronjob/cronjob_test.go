package cronjob_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/cronjob"
	"github.com/headway-sh/headway/reconciler/job"
)

var start = time.Date(2030, 1, 1, 0, 0, 30, 0, time.UTC)

func cron(change ...func(o *batchv1.CronJob)) *batchv1.CronJob {
	o := &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "tick", UID: "cron", CreationTimestamp: metav1.NewTime(start)},
		Spec: batchv1.CronJobSpec{
			Schedule: "* * * * *", ConcurrencyPolicy: batchv1.AllowConcurrent, TimeZone: ptr.To("UTC"),
			SuccessfulJobsHistoryLimit: ptr.To[int32](3), FailedJobsHistoryLimit: ptr.To[int32](1),
			JobTemplate: batchv1.JobTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "tick"}, Annotations: map[string]string{"team": "a"}}},
		},
	}
	for _, f := range change {
		f(o)
	}
	return o
}

func made(name string, change ...func(j *batchv1.Job)) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(start),
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "CronJob", Name: "tick", UID: "cron", Controller: ptr.To(true)}}}}
	for _, f := range change {
		f(j)
	}
	return j
}

func ended(kind batchv1.JobConditionType, after time.Duration) func(j *batchv1.Job) {
	return func(j *batchv1.Job) {
		at := metav1.NewTime(start.Add(after))
		j.Status.StartTime, j.Status.Conditions = &at, []batchv1.JobCondition{{Type: kind, Status: corev1.ConditionTrue}}
		if kind == batchv1.JobComplete {
			j.Status.CompletionTime = &at
		}
	}
}

func listed(names ...string) func(o *batchv1.CronJob) {
	return func(o *batchv1.CronJob) {
		for _, name := range names {
			o.Status.Active = append(o.Status.Active, corev1.ObjectReference{Name: name, UID: types.UID(name)})
		}
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	const minute = "tick-31557601" // 2030-01-01 00:01
	concurrency := func(p batchv1.ConcurrencyPolicy) func(o *batchv1.CronJob) {
		return func(o *batchv1.CronJob) { o.Spec.ConcurrencyPolicy = p }
	}
	schedule := func(s string) func(o *batchv1.CronJob) { return func(o *batchv1.CronJob) { o.Spec.Schedule = s } }
	last := func(d time.Duration) func(o *batchv1.CronJob) {
		return func(o *batchv1.CronJob) { o.Status.LastScheduleTime = ptr.To(metav1.NewTime(start.Add(d))) }
	}
	deadline := func(s int64) func(o *batchv1.CronJob) {
		return func(o *batchv1.CronJob) { o.Spec.StartingDeadlineSeconds = &s }
	}
	type want struct {
		Create, Scheduled      string
		Prune, Replace, Active []string
		Events                 []string
		After                  time.Duration
	}
	for _, c := range []struct {
		name string
		cron []func(o *batchv1.CronJob)
		jobs []*batchv1.Job
		now  time.Duration // after start
		want want
	}{
		{"too early", nil, nil, 10 * time.Second, want{After: 20 * time.Second}},
		{"in time", nil, nil, 30 * time.Second, want{Create: minute, Scheduled: "2030-01-01T00:01:00Z", After: time.Minute}},
		{"the newest of some", []func(o *batchv1.CronJob){schedule("*/2 * * * *")}, nil, 5 * time.Minute, want{Create: "tick-31557604", Scheduled: "2030-01-01T00:04:00Z", After: 30 * time.Second}},
		{"of very many", nil, nil, 26*time.Hour + 30*time.Second, want{Create: "tick-31559161", Scheduled: "2030-01-02T02:01:00Z", After: time.Minute, Events: []string{"Warning TooManyMissedTimes"}}},
		{"the clock was set back", []func(o *batchv1.CronJob){last(time.Hour)}, nil, time.Minute, want{After: time.Minute}},
		{"too late", []func(o *batchv1.CronJob){schedule("0 * * * *"), last(-30 * time.Second), deadline(20)}, nil, time.Hour + time.Minute,
			want{After: time.Minute, Events: []string{"Warning MissSchedule"}}},
		{"not yet too late", []func(o *batchv1.CronJob){schedule("0 * * * *"), deadline(200)}, nil, time.Hour + time.Minute, want{Create: "tick-31557660", Scheduled: "2030-01-01T01:00:00Z", After: time.Minute}},
		{"in another zone", []func(o *batchv1.CronJob){schedule("30 5 * * *"), func(o *batchv1.CronJob) { o.Spec.TimeZone = ptr.To("Asia/Kolkata") }}, nil, 24 * time.Hour,
			want{Create: "tick-31559040", Scheduled: "2030-01-02T05:30:00+05:30", After: time.Minute}},
		{"no such zone", []func(o *batchv1.CronJob){func(o *batchv1.CronJob) { o.Spec.TimeZone = ptr.To("Mars/Base") }}, nil, time.Minute, want{Events: []string{"Warning UnknownTimeZone"}}},
		{"no schedule", []func(o *batchv1.CronJob){schedule("often")}, nil, time.Minute, want{Events: []string{"Warning UnparseableSchedule"}}},
		{"never", []func(o *batchv1.CronJob){schedule("0 0 31 2 *")}, nil, time.Minute, want{Events: []string{"Warning InvalidSchedule"}}},
		{"suspended", []func(o *batchv1.CronJob){func(o *batchv1.CronJob) { o.Spec.Suspend = ptr.To(true) }}, nil, time.Minute, want{}},
		{"made, but not written down", nil, []*batchv1.Job{made(minute)}, 30 * time.Second, want{Active: []string{minute}, After: time.Minute, Events: []string{"Normal UnexpectedJob"}}},
		{"beside the running", []func(o *batchv1.CronJob){listed("a")}, []*batchv1.Job{made("a")}, 30 * time.Second, want{Create: minute, Scheduled: "2030-01-01T00:01:00Z", Active: []string{"a"}, After: time.Minute}},
		{"not beside the running", []func(o *batchv1.CronJob){listed("a"), concurrency(batchv1.ForbidConcurrent)}, []*batchv1.Job{made("a")}, 30 * time.Second,
			want{Active: []string{"a"}, After: time.Minute, Events: []string{"Normal JobAlreadyActive"}}},
		{"instead of the running", []func(o *batchv1.CronJob){listed("a"), concurrency(batchv1.ReplaceConcurrent)}, []*batchv1.Job{made("a")}, 30 * time.Second,
			want{Create: minute, Scheduled: "2030-01-01T00:01:00Z", Replace: []string{"a"}, Active: []string{"a"}, After: time.Minute}},
		{"done", []func(o *batchv1.CronJob){listed("a", "b")}, []*batchv1.Job{made("a", ended(batchv1.JobComplete, 5*time.Second))}, 10 * time.Second,
			want{After: 20 * time.Second, Events: []string{"Normal SawCompletedJob", "Normal MissingJob"}}},
		{"too long a history", nil, []*batchv1.Job{
			made("a", ended(batchv1.JobComplete, 5*time.Second)), made("b", ended(batchv1.JobComplete, 3*time.Second)), made("c", ended(batchv1.JobComplete, 4*time.Second)),
			made("d", ended(batchv1.JobComplete, 7*time.Second)), made("e", ended(batchv1.JobFailed, 8*time.Second)), made("f", ended(batchv1.JobFailed, 9*time.Second)),
		}, 10 * time.Second, want{Prune: []string{"b", "e"}, After: 20 * time.Second}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			plan := cronjob.Decide(cron(c.cron...), c.jobs, start.Add(c.now))
			got := want{After: plan.After}
			if plan.Create != nil {
				got.Create, got.Scheduled = plan.Create.Name, plan.Create.Annotations[batchv1.CronJobScheduledTimestampAnnotation]
			}
			for _, j := range plan.Prune {
				got.Prune = append(got.Prune, j.Name)
			}
			for _, j := range plan.Replace {
				got.Replace = append(got.Replace, j.Name)
			}
			for _, ref := range plan.Status.Active {
				got.Active = append(got.Active, ref.Name)
			}
			for _, e := range plan.Tell {
				got.Events = append(got.Events, e.Type+" "+e.Reason)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLastSuccess(t *testing.T) {
	t.Parallel()
	plan := cronjob.Decide(cron(), []*batchv1.Job{made("a", ended(batchv1.JobComplete, 9*time.Second)), made("b", ended(batchv1.JobComplete, 4*time.Second))}, start)
	if got := plan.Status.LastSuccessfulTime; !got.Time.Equal(start.Add(9 * time.Second)) {
		t.Errorf("last success %s", got)
	}
}

// TestDueIsTheNewest compares with walking through all times.
func TestDueIsTheNewest(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		schedule := rapid.SampledFrom([]string{"* * * * *", "*/7 2-5 * * *", "30 2 * * *", "0 0 1 * *", "15 3 * 3,10 0", "0 12 29 2 *", "@hourly", "@every 90s", "@every 7h"}).Draw(t, "schedule")
		zone := rapid.SampledFrom([]*time.Location{time.UTC, berlin}).Draw(t, "zone")
		after := start.Add(time.Duration(rapid.IntRange(0, 500*24*3600).Draw(t, "after")) * time.Second)
		now := after.Add(time.Duration(rapid.IntRange(-3600, 10*24*3600).Draw(t, "now")) * time.Second)
		var want time.Time
		n := 0
		for at := cronjob.Next(schedule, zone, after); !at.IsZero() && !at.After(now); at = cronjob.Next(schedule, zone, at) {
			want = at
			n++
		}
		got, many := cronjob.Due(schedule, zone, after, now)
		if !got.Equal(want) || many != (n > 100) {
			t.Fatalf("%s of %d times, many %v; want %s", got, n, many, want)
		}
	})
}

var errCrash = errors.New("the controller died here")

// TestEachTimeHasOneJob lets time pass in leaps, writes fail before or after
// they are done, and Jobs end.
func TestEachTimeHasOneJob(t *testing.T) {
	t.Parallel()
	base := rand.Uint64()
	for i := range uint64(6) {
		policy := []batchv1.ConcurrencyPolicy{batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent}[i%3]
		t.Run(fmt.Sprintf("%s, seed %d", policy, base+i), func(t *testing.T) {
			t.Parallel()
			live(t, rand.New(rand.NewPCG(base+i, 1)), policy)
		})
	}
}

func live(t *testing.T, random *rand.Rand, policy batchv1.ConcurrencyPolicy) {
	clk := clocktesting.NewFakeClock(start)
	api := fakecluster.New(clk, cron(func(o *batchv1.CronJob) { o.Spec.ConcurrencyPolicy = policy }))
	faulty := func(write func() error) error {
		if random.IntN(8) == 0 {
			return errCrash
		}
		if err := write(); err != nil {
			return err
		}
		if random.IntN(8) == 0 {
			return errCrash
		}
		return nil
	}
	times := map[string]int{}
	c := interceptor.NewClient(api, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			return faulty(func() error {
				err := c.Create(ctx, o, options...)
				if err == nil {
					times[o.GetAnnotations()[batchv1.CronJobScheduledTimestampAnnotation]]++
				}
				return err
			})
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.DeleteOption) error {
			return faulty(func() error { return c.Delete(ctx, o, options...) })
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, options ...client.SubResourceUpdateOption) error {
			return faulty(func() error { return c.SubResource(sub).Update(ctx, o, options...) })
		},
	})
	r := cronjob.NewReconciler(controller.Deps{Client: c, Clock: clk, Logger: slog.New(slog.DiscardHandler), Events: &record.FakeRecorder{}})
	for range 300 {
		switch random.IntN(4) {
		case 0:
			clk.Step(time.Duration(random.IntN(90)) * time.Second)
		case 1:
			finishOne(t, api, random, clk.Now())
		default:
			if _, err := r.Reconcile(t.Context(), controller.Named("shop", "tick")); err != nil && !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
		}
		if running := slices.DeleteFunc(jobs(t, api), func(j batchv1.Job) bool { return job.Finished(&j) }); policy != batchv1.AllowConcurrent && len(running) > 1 {
			t.Fatalf("%d Jobs run", len(running))
		}
	}
	if len(times) < 10 {
		t.Errorf("only %d times had a Job", len(times))
	}
	for at, n := range times {
		if n > 1 {
			t.Errorf("%s had %d Jobs", at, n)
		}
	}
}

func jobs(t *testing.T, api client.Client) []batchv1.Job {
	t.Helper()
	var list batchv1.JobList
	if err := api.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func finishOne(t *testing.T, api client.Client, random *rand.Rand, now time.Time) {
	t.Helper()
	all := jobs(t, api)
	if len(all) == 0 {
		return
	}
	j := &all[random.IntN(len(all))]
	if job.Finished(j) {
		return
	}
	ended(batchv1.JobComplete, now.Sub(start))(j)
	if err := api.Status().Update(t.Context(), j); err != nil {
		t.Fatal(err)
	}
}
