package kinds_test

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

func TestJobLimits(t *testing.T) {
	type (
		job  = *batchv1.Job
		cron = *batchv1.CronJob
	)
	indexed := func(o job, completions int32, limit, most *int32) {
		o.Spec.CompletionMode, o.Spec.Completions, o.Spec.Parallelism = ptr.To(batchv1.IndexedCompletion), ptr.To(completions), ptr.To[int32](1)
		o.Spec.BackoffLimitPerIndex, o.Spec.MaxFailedIndexes = limit, most
	}
	runMutations(t, []mutation{
		on("job", "limit of indexes it has not", func(o job) { o.Spec.BackoffLimitPerIndex = ptr.To[int32](1) }, "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"),
		on("job", "most without each", func(o job) { indexed(o, 3, nil, ptr.To[int32](1)) }, "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified"),
		on("job", "more than all", func(o job) { indexed(o, 3, ptr.To[int32](1), ptr.To[int32](4)) }, "spec.maxFailedIndexes: Invalid value: 4: must be less than or equal to completions"),
		on("job", "too many to tell", func(o job) { indexed(o, 200_000, ptr.To[int32](1), nil) }, "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000"),
		on("job", "indexes", func(o job) { indexed(o, 3, ptr.To[int32](1), ptr.To[int32](2)) }, ""),
		on("cronjob", "no time zone", func(o cron) { o.Spec.TimeZone = ptr.To("") }, `spec.timeZone: Invalid value: "": timeZone must be nil or non-empty string`),
		on("cronjob", "odd time zone", func(o cron) { o.Spec.TimeZone = ptr.To("../etc") }, `spec.timeZone: Invalid value: "../etc": unknown time zone ../etc`),
		on("cronjob", "unknown time zone", func(o cron) { o.Spec.TimeZone = ptr.To("Moon/Base") }, `spec.timeZone: Invalid value: "Moon/Base": unknown time zone Moon/Base`),
		on("cronjob", "UTC", func(o cron) { o.Spec.TimeZone = ptr.To("UTC") }, ""),
	})
}

func TestJobStatusKeepsItsPromises(t *testing.T) {
	t.Parallel()
	k, created := valid[*batchv1.Job](t, "job")
	was := func(types ...batchv1.JobConditionType) []batchv1.JobCondition {
		var all []batchv1.JobCondition
		for _, t := range types {
			all = append(all, batchv1.JobCondition{Type: t, Status: corev1.ConditionTrue})
		}
		return all
	}
	now := metav1.Time{Time: goldenTime}
	later := metav1.Time{Time: goldenTime.Add(time.Minute)}
	for name, test := range map[string]struct {
		before, after func(s *batchv1.JobStatus)
		want          string
	}{
		"complete": {nil, func(s *batchv1.JobStatus) {
			s.Conditions, s.StartTime, s.CompletionTime = was(batchv1.JobSuccessCriteriaMet, batchv1.JobComplete), &now, &later
		}, ""},
		"complete unannounced": {nil, func(s *batchv1.JobStatus) {
			s.Conditions, s.StartTime, s.CompletionTime = was(batchv1.JobComplete), &now, &later
		},
			"status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition"},
		"failed unannounced": {nil, func(s *batchv1.JobStatus) { s.Conditions, s.StartTime = was(batchv1.JobFailed), &now },
			"status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition"},
		"never begun":        {nil, func(s *batchv1.JobStatus) { s.Conditions = was(batchv1.JobFailureTarget, batchv1.JobFailed) }, "status.startTime: Required value"},
		"end before the end": {nil, func(s *batchv1.JobStatus) { s.CompletionTime = &now }, "status.completionTime: Invalid value"},
		"end before the begin": {nil, func(s *batchv1.JobStatus) {
			s.Conditions, s.StartTime, s.CompletionTime = was(batchv1.JobSuccessCriteriaMet, batchv1.JobComplete), &later, &now
		}, "status.completionTime: Invalid value"},
		"other begin": {func(s *batchv1.JobStatus) { s.StartTime = &now }, func(s *batchv1.JobStatus) { s.StartTime = &later }, "status.startTime: Invalid value"},
		"not failed any more": {func(s *batchv1.JobStatus) {
			s.Conditions, s.StartTime = was(batchv1.JobFailureTarget, batchv1.JobFailed), &now
		}, func(s *batchv1.JobStatus) { s.Conditions = was(batchv1.JobFailureTarget) }, "status.conditions: Invalid value: cannot disable the terminal Failed=True condition"},
		"runs after its end": {nil, func(s *batchv1.JobStatus) {
			s.Conditions, s.StartTime, s.Active = was(batchv1.JobFailureTarget, batchv1.JobFailed), &now, 1
		}, "status.active: Invalid value: 1: active>0 is invalid for finished job"},
		"ready and not active": {nil, func(s *batchv1.JobStatus) { s.Ready = ptr.To[int32](1) }, "status.ready: Invalid value: 1: cannot set more ready pods than active"},
		"fewer failures":       {func(s *batchv1.JobStatus) { s.Failed = 2 }, func(s *batchv1.JobStatus) { s.Failed = 1 }, "status.failed: Invalid value: 1: cannot decrease the failed counter"},
		"pod counted twice": {nil, func(s *batchv1.JobStatus) {
			s.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{Succeeded: []types.UID{"a"}, Failed: []types.UID{"a"}}
		}, `status.uncountedTerminatedPods.failed[0]: Duplicate value: "a"`},
		"indexes it has not": {nil, func(s *batchv1.JobStatus) { s.CompletedIndexes = "0" }, `status.completedIndexes: Invalid value: "0": cannot set non-empty completedIndexes when non-indexed`},
	} {
		old := created.DeepCopy()
		if test.before != nil {
			test.before(&old.Status)
		}
		o := old.DeepCopy()
		test.after(&o.Status)
		errs := k.Subresources["status"].Validate(o, old)
		if test.want == "" && len(errs) > 0 || test.want != "" && !tells(errs, []string{test.want}) {
			t.Errorf("%s: %v\nwant %s", name, errs.ToAggregate(), test.want)
		}
	}
}

func TestIndexesOfJobs(t *testing.T) {
	t.Parallel()
	k, old := valid[*batchv1.Job](t, "job")
	old.Spec.CompletionMode, old.Spec.Completions, old.Spec.BackoffLimitPerIndex = ptr.To(batchv1.IndexedCompletion), ptr.To[int32](9), ptr.To[int32](1)
	for completed, want := range map[string]string{
		"0,2-4,8": "",
		"0-2-4":   `error parsing completedIndexes: the fragment "0-2-4" violates`,
		"a":       `error parsing completedIndexes: cannot convert string to integer for index: "a"`,
		"9":       `error parsing completedIndexes: too large index: "9"`,
		"3,1":     "error parsing completedIndexes: non-increasing order, previous: 3, current: 1",
		"5-4":     "error parsing completedIndexes: non-increasing order, previous: 5, current: 4",
	} {
		o := old.DeepCopy()
		o.Status.CompletedIndexes = completed
		if want != "" {
			want = `status.completedIndexes: Invalid value: "` + completed + `": ` + want
		}
		errs := k.Subresources["status"].Validate(o, old)
		if want == "" && len(errs) > 0 || want != "" && !tells(errs, []string{want}) {
			t.Errorf("%s: %v\nwant %s", completed, errs.ToAggregate(), want)
		}
	}
	o := old.DeepCopy()
	o.Status.CompletedIndexes, o.Status.FailedIndexes = "0-4", ptr.To("3,7")
	if errs := k.Subresources["status"].Validate(o, old); !tells(errs, []string{`status.failedIndexes: Invalid value: "3,7": failedIndexes and completedIndexes overlap at index: 3`}) {
		t.Errorf("overlap: %v", errs.ToAggregate())
	}
}

func TestResourcesOfWholePods(t *testing.T) {
	type podT = *corev1.Pod
	whole := func(requests, limits corev1.ResourceList) func(podT) {
		return func(o podT) {
			o.Spec.InitContainers, o.Spec.Overhead = nil, nil
			container(o).Resources = corev1.ResourceRequirements{Requests: list("cpu", "500m"), Limits: list("cpu", "1")}
			o.Spec.Containers = o.Spec.Containers[:1]
			o.Spec.Resources = &corev1.ResourceRequirements{Requests: requests, Limits: limits}
		}
	}
	runMutations(t, []mutation{
		on("pod", "less than its containers", whole(list("cpu", "100m"), list("cpu", "1")), `spec.resources.requests[cpu]: Invalid value: "100m": must be greater than or equal to aggregate container requests of 500m`),
		on("pod", "a container's limit over the pod's", whole(list("cpu", "600m"), list("cpu", "700m")), `spec.resources.containers[0][cpu].limits: Invalid value: "1": must be less than or equal to pod limits of 700m`),
		on("pod", "enough", whole(list("cpu", "500m"), list("cpu", "1")), ""),
	})
}

func TestRequestsOfWholePods(t *testing.T) {
	t.Parallel()
	k, o := valid[*corev1.Pod](t, "pod")
	o.Spec.InitContainers, o.Spec.Containers = nil, o.Spec.Containers[:1]
	container(o).Resources = corev1.ResourceRequirements{Requests: list("cpu", "500m")}
	limits := list("cpu", "1")
	limits[corev1.ResourceMemory] = list("memory", "1Gi")[corev1.ResourceMemory]
	o.Spec.Resources = &corev1.ResourceRequirements{Limits: limits}
	k.Prepare(o, nil)
	cpu, memory := o.Spec.Resources.Requests[corev1.ResourceCPU], o.Spec.Resources.Requests[corev1.ResourceMemory]
	if cpu.String() != "500m" || memory.String() != "1Gi" {
		t.Errorf("requests %v, want the containers' cpu and the limit of memory", o.Spec.Resources.Requests)
	}
	if len(o.Spec.Resources.Limits) != 2 {
		t.Errorf("limits %v", o.Spec.Resources.Limits)
	}
	limited := o.DeepCopy()
	limited.Spec.Resources = &corev1.ResourceRequirements{Requests: list("cpu", "2")}
	container(limited).Resources = corev1.ResourceRequirements{Limits: list("cpu", "1")}
	if k.Prepare(limited, nil); limited.Spec.Resources.Limits.Cpu().String() != "2" {
		t.Errorf("the limit is %v, want what is requested where the containers' is less", limited.Spec.Resources.Limits)
	}
	old := o.DeepCopy()
	o.Spec.Resources = nil
	if k.Prepare(o, old); o.Spec.Resources == nil {
		t.Error("an update by a client that does not know of them takes them away")
	}
}
