package kinds

import (
	"fmt"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func jobKind() *kind.Kind {
	p := partsOf(func(o *batchv1.Job) *batchv1.JobSpec { return &o.Spec }, func(o *batchv1.Job) *batchv1.JobStatus { return &o.Status })
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
			prepareJob(o, old)
			p.main(o, untyped(old))
		}),
		Subresources: map[string]kind.Subresource{"status": p.statusSubresource(checkJobStatus)},
		Fields: map[string]func(txn.Object) string{
			"status.successful": text(func(o *batchv1.Job) string { return strconv.Itoa(int(o.Status.Succeeded)) }),
		},
		Validate: validate(checkJob),
		Warnings: warnings(func(o, _ *batchv1.Job) []string {
			return templateWarnings("spec.template.spec", &o.Spec.Template.Spec, &o.Spec.Template.ObjectMeta)
		}),
		Columns: append([]column{
			nameColumn(), str("Status", "Status of the job."), str("Completions", batchv1.JobStatus{}.SwaggerDoc()["succeeded"]),
			str("Duration", "Time required to complete the job."), ageColumn(),
		}, templateColumns()...),
		Row: row(jobRow),
	}
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
