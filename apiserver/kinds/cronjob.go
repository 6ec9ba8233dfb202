package kinds

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func cronJobKind() *kind.Kind {
	p := partsOf(func(o *batchv1.CronJob) *batchv1.CronJobSpec { return &o.Spec }, func(o *batchv1.CronJob) *batchv1.CronJobStatus { return &o.Status }).
		of(func(o *batchv1.CronJob) *corev1.PodTemplateSpec { return &o.Spec.JobTemplate.Spec.Template })
	doc := batchv1.CronJobSpec{}.SwaggerDoc()
	return &kind.Kind{
		GVK:           batchv1.SchemeGroupVersion.WithKind("CronJob"),
		Plural:        "cronjobs",
		Singular:      "cronjob",
		ShortNames:    []string{"cj"},
		Categories:    []string{"all"},
		Namespaced:    true,
		StoragePrefix: "cronjobs",
		New:           func() txn.Object { return &batchv1.CronJob{} },
		NewList:       func() runtime.Object { return &batchv1.CronJobList{} },
		Default: defaults(func(o *batchv1.CronJob) {
			setDefault(&o.Spec.ConcurrencyPolicy, batchv1.AllowConcurrent)
			setDefaultPtr(&o.Spec.Suspend, false)
			setDefaultPtr(&o.Spec.SuccessfulJobsHistoryLimit, 3)
			setDefaultPtr(&o.Spec.FailedJobsHistoryLimit, 1)
			defaultConditions(&o.Spec.JobTemplate.Spec)
			defaultPodSpec(&o.Spec.JobTemplate.Spec.Template.Spec)
		}),
		Prepare: prepare(func(o, old *batchv1.CronJob) {
			if old == nil || old.Spec.JobTemplate.Spec.Scheduling == nil {
				o.Spec.JobTemplate.Spec.Scheduling = nil
			}
			p.main(o, untyped(old))
		}),
		Subresources: map[string]kind.Subresource{"status": p.statusSubresource(nil)},
		Validate:     validate(checkCronJob),
		Warnings: warnings(func(o, old *batchv1.CronJob) []string {
			p := field.NewPath("spec", "jobTemplate", "spec")
			return append(workloadWarnings(o, untyped(old), p.Child("template"), &o.Spec.JobTemplate.Spec.Template), jobWarnings(p, &o.Spec.JobTemplate.Spec)...)
		}),
		Name: cronJobName,
		Columns: append([]column{
			nameColumn(), str("Schedule", doc["schedule"]), str("Timezone", doc["timeZone"]), boolean("Suspend", doc["suspend"]),
			integer("Active", batchv1.CronJobStatus{}.SwaggerDoc()["active"]),
			str("Last Schedule", batchv1.CronJobStatus{}.SwaggerDoc()["lastScheduleTime"]), ageColumn(),
		}, templateColumns()...),
		Row: row(func(o *batchv1.CronJob, now time.Time) []any {
			last := none
			if o.Status.LastScheduleTime != nil {
				last = kind.Age(*o.Status.LastScheduleTime, now)
			}
			job := &o.Spec.JobTemplate.Spec
			return []any{
				o.Name, o.Spec.Schedule, deref(o.Spec.TimeZone, none), suspendText(o.Spec.Suspend), int64(len(o.Status.Active)), last, age(o, now),
				containerNames(job.Template.Spec.Containers), containerImages(job.Template.Spec.Containers), selectorText(job.Selector),
			}
		}),
	}
}

func suspendText(suspend *bool) string {
	switch {
	case suspend == nil:
		return unset
	case *suspend:
		return "True"
	}
	return "False"
}
