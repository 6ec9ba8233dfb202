package kinds

import (
	"fmt"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func jobKind() *kind.Kind {
	p := partsOf(func(o *batchv1.Job) *batchv1.JobSpec { return &o.Spec }, func(o *batchv1.Job) *batchv1.JobStatus { return &o.Status }).
		of(func(o *batchv1.Job) *corev1.PodTemplateSpec { return &o.Spec.Template })
	return &kind.Kind{
		GVK:           batchv1.SchemeGroupVersion.WithKind("Job"),
		Plural:        "jobs",
		Singular:      "job",
		Categories:    []string{"all"},
		Namespaced:    true,
		StoragePrefix: "jobs",
		New:           func() txn.Object { return &batchv1.Job{} },
		NewList:       func() runtime.Object { return &batchv1.JobList{} },
		Default:       defaults(defaultJob),
		Prepare: prepare(func(o, old *batchv1.Job) {
			if old == nil || old.Spec.Scheduling == nil {
				// Groups of pods are not scheduled as one.
				o.Spec.Scheduling = nil
			}
			prepareJob(o, old)
			p.main(o, untyped(old))
		}),
		Subresources: map[string]kind.Subresource{"status": p.statusSubresource(checkJobStatus)},
		Fields: map[string]func(txn.Object) string{
			"status.successful": text(func(o *batchv1.Job) string { return strconv.Itoa(int(o.Status.Succeeded)) }),
		},
		Indexes:  owned(nil),
		Validate: validate(checkJob),
		Warnings: warnings(func(o, old *batchv1.Job) []string {
			p := field.NewPath("spec")
			return append(workloadWarnings(o, untyped(old), p.Child("template"), &o.Spec.Template), jobWarnings(p, &o.Spec)...)
		}),
		Columns: append([]column{
			nameColumn(), str("Status", "Status of the job."), str("Completions", batchv1.JobStatus{}.SwaggerDoc()["succeeded"]),
			str("Duration", "Time required to complete the job."), ageColumn(),
		}, templateColumns()...),
		Row: row(jobRow),
	}
}

// jobWarnings tells of so many indexes that not all can be told of.
func jobWarnings(p *path, s *batchv1.JobSpec) []string {
	if deref(s.CompletionMode, "") != batchv1.IndexedCompletion || deref(s.Completions, 0) <= 100_000 || deref(s.Parallelism, 0) <= 10_000 {
		return nil
	}
	return []string{p.String() + ": In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"}
}

func jobRow(o *batchv1.Job, now time.Time) []any {
	completions := fmt.Sprintf("%d/1", o.Status.Succeeded)
	if o.Spec.Completions != nil {
		completions = fmt.Sprintf("%d/%d", o.Status.Succeeded, *o.Spec.Completions)
	} else if p := deref(o.Spec.Parallelism, 0); p > 1 {
		completions = fmt.Sprintf("%d/1 of %d", o.Status.Succeeded, p)
	}
	took := ""
	if start := o.Status.StartTime; start != nil {
		end := now
		if o.Status.CompletionTime != nil {
			end = o.Status.CompletionTime.Time
		}
		took = human(end.Sub(start.Time))
	}
	pod := &o.Spec.Template.Spec
	return []any{
		o.Name, jobStatusText(o), completions, took, age(o, now),
		containerNames(pod.Containers), containerImages(pod.Containers), selectorText(o.Spec.Selector),
	}
}

func jobStatusText(o *batchv1.Job) string {
	has := func(t batchv1.JobConditionType) bool {
		for _, c := range o.Status.Conditions {
			if c.Type == t && c.Status == corev1.ConditionTrue {
				return true
			}
		}
		return false
	}
	switch {
	case has(batchv1.JobComplete):
		return "Complete"
	case has(batchv1.JobFailed):
		return "Failed"
	case o.DeletionTimestamp != nil:
		return "Terminating"
	case has(batchv1.JobSuspended):
		return "Suspended"
	case has(batchv1.JobFailureTarget):
		return "FailureTarget"
	case has(batchv1.JobSuccessCriteriaMet):
		return "SuccessCriteriaMet"
	}
	return "Running"
}
