package job_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/reconciler/job"
)

func pod(name string, index int, phase corev1.PodPhase, change ...func(p *corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), Finalizers: []string{batchv1.JobTrackingFinalizer}, CreationTimestamp: metav1.NewTime(start),
			Annotations: map[string]string{}},
		Spec:   corev1.PodSpec{NodeName: "n1"},
		Status: corev1.PodStatus{Phase: phase},
	}
	if index >= 0 {
		p.Annotations[batchv1.JobCompletionIndexAnnotation] = fmt.Sprint(index)
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func exit(code int32, after time.Duration) func(p *corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, FinishedAt: metav1.NewTime(start.Add(after))}}}}
	}
}

func going(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(metav1.NewTime(start)) }

func untracked(p *corev1.Pod) { p.Finalizers = nil }

func failures(n int) func(p *corev1.Pod) {
	return func(p *corev1.Pod) { p.Annotations[batchv1.JobIndexFailureCountAnnotation] = fmt.Sprint(n) }
}

func policy(rules ...batchv1.PodFailurePolicyRule) func(o *batchv1.Job) {
	return func(o *batchv1.Job) {
		waiting(o)
		o.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: rules}
	}
}

func onExit(action batchv1.PodFailurePolicyAction, codes ...int32) batchv1.PodFailurePolicyRule {
	return batchv1.PodFailurePolicyRule{Action: action, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: codes}}
}

func names(pods []*corev1.Pod) []string {
	var all []string
	for _, p := range pods {
		all = append(all, p.Name)
	}
	slices.Sort(all)
	return all
}

func TestDecide(t *testing.T) {
	t.Parallel()
	const running, succeeded, bad = corev1.PodRunning, corev1.PodSucceeded, corev1.PodFailed
	started := func(o *batchv1.Job) { o.Status.StartTime = ptr.To(metav1.NewTime(start)) }
	type want struct {
		Kill, Delete, Release []string
		Create                []int
		Conditions            []string
		After                 time.Duration
	}
	for _, c := range []struct {
		name string
		job  []func(*batchv1.Job)
		pods []*corev1.Pod
		want want
	}{
		{"begins", nil, nil, want{Create: []int{-1, -1, -1}}},
		{"begins with indexes", []func(*batchv1.Job){indexed}, nil, want{Create: []int{0, 1, 2}}},
		{"fills gaps", []func(*batchv1.Job){indexed, func(o *batchv1.Job) { o.Status.CompletedIndexes = "0,2" }}, []*corev1.Pod{pod("a", 3, running)}, want{Create: []int{1, 4}}},
		{"one pod an index", []func(*batchv1.Job){indexed}, []*corev1.Pod{pod("a", 0, running), pod("b", 0, running), pod("c", 9, running), pod("d", 1, running)}, want{Kill: []string{"a", "c"}}},
		{"untracked pods cannot count", nil, []*corev1.Pod{pod("a", -1, running, untracked), pod("b", -1, running)}, want{Kill: []string{"a"}}},
		{"less parallel", []func(*batchv1.Job){func(o *batchv1.Job) { o.Spec.Parallelism = ptr.To[int32](1) }}, []*corev1.Pod{pod("a", -1, running), pod("b", -1, corev1.PodPending)}, want{Kill: []string{"b"}}},
		{"waits after a failure", nil, []*corev1.Pod{pod("a", -1, bad, exit(1, 0))}, want{Release: []string{"a"}, After: 10 * time.Second}},
		{"waits longer after three", nil, []*corev1.Pod{pod("a", -1, bad, exit(1, 0)), pod("b", -1, bad, exit(1, 0), untracked), pod("c", -1, bad, exit(1, -time.Minute), untracked)},
			want{Release: []string{"a"}, After: 40 * time.Second}},
		{"a success begins anew", nil, []*corev1.Pod{pod("a", -1, bad, exit(1, -time.Minute), untracked), pod("b", -1, succeeded, exit(0, 0), untracked)}, want{Create: []int{-1, -1, -1}}},
		{"killed pods are no failures", nil, []*corev1.Pod{pod("a", -1, running, going, untracked)}, want{Create: []int{-1, -1, -1}}},
		{"a deleted pod is replaced at once, but for the wait", []func(*batchv1.Job){func(o *batchv1.Job) { o.Spec.BackoffLimit = ptr.To[int32](0) }},
			[]*corev1.Pod{pod("a", -1, running, going)}, want{Release: []string{"a"}, Conditions: []string{"FailureTarget BackoffLimitExceeded"}}},
		{"a deleted pod is waited for", []func(*batchv1.Job){waiting}, []*corev1.Pod{pod("a", -1, running, going)}, want{Create: []int{-1, -1}}},
		{"a deleted index is waited for", []func(*batchv1.Job){waiting, indexed}, []*corev1.Pod{pod("a", 0, running, going)}, want{Create: []int{1, 2}}},
		{"too many failures", []func(*batchv1.Job){func(o *batchv1.Job) { o.Spec.BackoffLimit = ptr.To[int32](0) }}, []*corev1.Pod{pod("a", -1, bad), pod("b", -1, running)},
			want{Delete: []string{"b"}, Release: []string{"a"}, Conditions: []string{"FailureTarget BackoffLimitExceeded"}}},
		{"too many restarts", []func(*batchv1.Job){func(o *batchv1.Job) {
			o.Spec.BackoffLimit = ptr.To[int32](2)
			o.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
		}}, []*corev1.Pod{pod("a", -1, running, func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 2}} })},
			want{Delete: []string{"a"}, Conditions: []string{"FailureTarget BackoffLimitExceeded"}}},
		{"out of time", []func(*batchv1.Job){func(o *batchv1.Job) {
			o.Spec.ActiveDeadlineSeconds = ptr.To[int64](5)
			o.Status.StartTime = ptr.To(metav1.NewTime(start.Add(-5 * time.Second)))
		}}, nil, want{Conditions: []string{"FailureTarget DeadlineExceeded", "Failed DeadlineExceeded"}}},
		{"in time", []func(*batchv1.Job){started, func(o *batchv1.Job) { o.Spec.ActiveDeadlineSeconds = ptr.To[int64](5) }}, nil, want{Create: []int{-1, -1, -1}, After: 5 * time.Second}},
		{"policy: the Job fails", []func(*batchv1.Job){policy(onExit(batchv1.PodFailurePolicyActionIgnore, 1), onExit(batchv1.PodFailurePolicyActionFailJob, 42))},
			[]*corev1.Pod{pod("a", -1, bad, exit(42, 0)), pod("b", -1, running)}, want{Delete: []string{"b"}, Release: []string{"a"}, Conditions: []string{"FailureTarget PodFailurePolicy"}}},
		{"policy: not counted", []func(*batchv1.Job){policy(onExit(batchv1.PodFailurePolicyActionIgnore, 42)), func(o *batchv1.Job) { o.Spec.BackoffLimit = ptr.To[int32](0) }},
			[]*corev1.Pod{pod("a", -1, bad, exit(42, -time.Minute))}, want{Release: []string{"a"}, Create: []int{-1, -1, -1}}},
		{"policy: the index fails", []func(*batchv1.Job){policy(onExit(batchv1.PodFailurePolicyActionFailIndex, 42)), perIndex},
			[]*corev1.Pod{pod("a", 0, bad, exit(42, 0))}, want{Release: []string{"a"}, Create: []int{1, 2, 3}}},
		{"a failed index keeps its count until it is replaced", []func(*batchv1.Job){perIndex},
			[]*corev1.Pod{pod("a", 0, bad, exit(1, 0), failures(0))}, want{Create: []int{1, 2}, After: 10 * time.Second}},
		{"a replaced index", []func(*batchv1.Job){perIndex},
			[]*corev1.Pod{pod("a", 0, bad, exit(1, 0), failures(0)), pod("b", 0, running, failures(1))}, want{Create: []int{1, 2}, Release: []string{"a"}}},
		{"an index out of tries", []func(*batchv1.Job){perIndex}, []*corev1.Pod{pod("a", 0, bad, exit(1, 0), failures(1))}, want{Create: []int{1, 2, 3}, Release: []string{"a"}}},
		{"too many failed indexes", []func(*batchv1.Job){perIndex, func(o *batchv1.Job) { o.Spec.MaxFailedIndexes = ptr.To[int32](0) }},
			[]*corev1.Pod{pod("a", 0, bad, exit(1, 0), failures(1)), pod("b", 1, running)},
			want{Delete: []string{"b"}, Release: []string{"a"}, Conditions: []string{"FailureTarget MaxFailedIndexesExceeded"}}},
		{"all done but failed indexes", []func(*batchv1.Job){perIndex, func(o *batchv1.Job) {
			o.Status.CompletedIndexes, o.Status.FailedIndexes = "1-5", ptr.To("0")
		}}, nil, want{Conditions: []string{"FailureTarget FailedIndexes", "Failed FailedIndexes"}}},
		{"all done", nil, []*corev1.Pod{pod("a", -1, succeeded), pod("b", -1, succeeded), pod("c", -1, succeeded), pod("d", -1, succeeded), pod("e", -1, succeeded), pod("f", -1, succeeded)},
			want{Release: []string{"a", "b", "c", "d", "e", "f"}, Conditions: []string{"SuccessCriteriaMet CompletionsReached"}}},
		{"all done and counted", []func(*batchv1.Job){func(o *batchv1.Job) { o.Status.Succeeded = 6 }}, []*corev1.Pod{pod("a", -1, succeeded, untracked)},
			want{Conditions: []string{"SuccessCriteriaMet CompletionsReached", "Complete CompletionsReached"}}},
		{"all done, one still ends", []func(*batchv1.Job){func(o *batchv1.Job) { o.Status.Succeeded = 6 }}, []*corev1.Pod{pod("a", -1, running, going, untracked)},
			want{Conditions: []string{"SuccessCriteriaMet CompletionsReached"}}},
		{"success policy", []func(*batchv1.Job){indexed, func(o *batchv1.Job) {
			o.Spec.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededIndexes: ptr.To("0-1")}, {SucceededIndexes: ptr.To("2-5"), SucceededCount: ptr.To[int32](1)}}}
		}}, []*corev1.Pod{pod("a", 3, succeeded), pod("b", 1, running)}, want{Delete: []string{"b"}, Release: []string{"a"}, Conditions: []string{"SuccessCriteriaMet SuccessPolicy"}}},
		{"suspended", []func(*batchv1.Job){suspended}, []*corev1.Pod{pod("a", -1, running)}, want{Kill: []string{"a"}, Conditions: []string{"Suspended JobSuspended"}}},
		{"nothing to do", []func(*batchv1.Job){func(o *batchv1.Job) { o.Spec.Completions = ptr.To[int32](0) }}, nil,
			want{Conditions: []string{"SuccessCriteriaMet CompletionsReached", "Complete CompletionsReached"}}},
		{"one success is enough", []func(*batchv1.Job){func(o *batchv1.Job) { o.Spec.Completions = nil }}, []*corev1.Pod{pod("a", -1, succeeded), pod("b", -1, running)}, want{Release: []string{"a"}}},
		{"being deleted", []func(*batchv1.Job){waiting, func(o *batchv1.Job) { o.DeletionTimestamp = ptr.To(metav1.NewTime(start)) }}, []*corev1.Pod{pod("a", -1, running), pod("b", -1, running, going)},
			want{Release: []string{"b"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			plan := job.Decide(work(c.job...), c.pods, start)
			got := want{names(plan.Kill), names(plan.Delete), names(plan.Release), nil, nil, plan.After}
			for _, s := range plan.Create {
				got.Create = append(got.Create, s.Index)
			}
			for _, k := range plan.Status.Conditions {
				if k.Status == corev1.ConditionTrue {
					got.Conditions = append(got.Conditions, string(k.Type)+" "+k.Reason)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPodsOfAnIndex(t *testing.T) {
	t.Parallel()
	o := work(perIndex, policy(onExit(batchv1.PodFailurePolicyActionIgnore, 42)))
	o.Spec.Template.Spec.InitContainers = []corev1.Container{{Name: "i", Env: []corev1.EnvVar{{Name: "JOB_COMPLETION_INDEX", Value: "mine"}}}}
	p := job.Slot{Index: 4, Replaces: pod("old", 4, corev1.PodFailed, exit(42, 0), failures(1))}.Pod(o, *metav1.NewControllerRef(o, batchv1.SchemeGroupVersion.WithKind("Job")))
	want := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", GenerateName: "work-4-", Finalizers: []string{batchv1.JobTrackingFinalizer},
			Labels: map[string]string{batchv1.ControllerUidLabel: "job", batchv1.JobCompletionIndexAnnotation: "4"},
			Annotations: map[string]string{batchv1.JobCompletionIndexAnnotation: "4", batchv1.JobIndexFailureCountAnnotation: "1",
				batchv1.JobIndexIgnoredFailureCountAnnotation: "1"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: "work", UID: "job", Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true)}},
		},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Hostname: "work-4",
			InitContainers: []corev1.Container{{Name: "i", Env: []corev1.EnvVar{{Name: "JOB_COMPLETION_INDEX", Value: "mine"}}}},
			Containers: []corev1.Container{{Name: "c", Image: "i", Env: []corev1.EnvVar{{Name: "JOB_COMPLETION_INDEX", ValueFrom: &corev1.EnvVarSource{
				FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['batch.kubernetes.io/job-completion-index']"}}}}}},
		},
	}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("pod (-want +got):\n%s", diff)
	}
}

func TestResumedJobsBeginAnew(t *testing.T) {
	t.Parallel()
	o := work(func(o *batchv1.Job) {
		o.Spec.ActiveDeadlineSeconds = ptr.To[int64](60)
		o.Status.StartTime = ptr.To(metav1.NewTime(start.Add(-time.Hour)))
		o.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobSuspended, Status: corev1.ConditionTrue, Reason: "JobSuspended"}}
	})
	plan := job.Decide(o, nil, start)
	if got := plan.Status.StartTime.Time; !got.Equal(start) {
		t.Errorf("start time %s, want %s", got, start)
	}
	if c := plan.Status.Conditions[0]; c.Status != corev1.ConditionFalse || c.Reason != "JobResumed" {
		t.Errorf("condition %+v", c)
	}
	if len(plan.Create) != 3 || plan.After != time.Minute {
		t.Errorf("creates %d pods, looks again after %s", len(plan.Create), plan.After)
	}
}
