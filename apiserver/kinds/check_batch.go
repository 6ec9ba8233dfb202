package kinds

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func checkJob(o, old *batchv1.Job) fieldErrors {
	c := &checker{}
	p := field.NewPath("spec")
	if o.Spec.Selector == nil {
		c.required(p.Child("selector"), "")
	} else {
		c.templateSelector(p, o.Spec.Selector, o.Spec.Template.Labels, "job")
	}
	c.jobSpec(p, &o.Spec)
	if old != nil {
		c.jobUpdate(p, &o.Spec, &old.Spec)
	}
	return c.errs
}

func (c *checker) jobSpec(p *path, s *batchv1.JobSpec) {
	c.nonNegativePtr(p, "parallelism", s.Parallelism)
	c.nonNegativePtr(p, "completions", s.Completions)
	c.nonNegativePtr(p, "backoffLimit", s.BackoffLimit)
	c.nonNegativePtr(p, "backoffLimitPerIndex", s.BackoffLimitPerIndex)
	c.nonNegativePtr(p, "maxFailedIndexes", s.MaxFailedIndexes)
	c.nonNegativePtr(p, "ttlSecondsAfterFinished", s.TTLSecondsAfterFinished)
	if d := s.ActiveDeadlineSeconds; d != nil {
		c.nonNegative(p, "activeDeadlineSeconds", *d)
	}
	if m := s.CompletionMode; m != nil {
		oneOfPtr(c, p, "completionMode", m, batchv1.NonIndexedCompletion, batchv1.IndexedCompletion)
		if *m == batchv1.IndexedCompletion {
			const most = 100000
			if s.Completions == nil {
				c.required(p.Child("completions"), "when completion mode is Indexed")
			} else if deref(s.Parallelism, 0) > most {
				c.invalid(p.Child("parallelism"), *s.Parallelism, "must be less than or equal to "+strconv.Itoa(most)+" when completion mode is Indexed")
			}
		}
	}
	c.indexLimits(p, s)
	c.template(p.Child("template"), &s.Template)
	if r := s.Template.Spec.RestartPolicy; r != corev1.RestartPolicyOnFailure && r != corev1.RestartPolicyNever {
		if r == "" || r == corev1.RestartPolicyAlways {
			c.required(p.Child("template", "spec", "restartPolicy"), "valid values: \"OnFailure\", \"Never\"")
		} else {
			c.add(field.NotSupported(p.Child("template", "spec", "restartPolicy"), r,
				[]corev1.RestartPolicy{corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever}))
		}
	}
	if s.PodFailurePolicy != nil {
		oneOfPtr(c, p, "podReplacementPolicy", s.PodReplacementPolicy, batchv1.Failed)
	} else {
		oneOfPtr(c, p, "podReplacementPolicy", s.PodReplacementPolicy, batchv1.Failed, batchv1.TerminatingOrFailed)
	}
	c.failurePolicy(p, s)
	c.successPolicy(p, s)
	c.manager(p, s.ManagedBy)
	if s.PodFailurePolicy != nil && s.Template.Spec.RestartPolicy != corev1.RestartPolicyNever {
		c.invalid(p.Child("template", "spec", "restartPolicy"), s.Template.Spec.RestartPolicy, "only \"Never\" is supported when podFailurePolicy is specified")
	}
}

// indexLimits checks how often indexes may fail.
func (c *checker) indexLimits(p *path, s *batchv1.JobSpec) {
	each, most := s.BackoffLimitPerIndex, s.MaxFailedIndexes
	if most != nil && each == nil {
		c.required(p.Child("backoffLimitPerIndex"), "when maxFailedIndexes is specified")
	}
	switch deref(s.CompletionMode, batchv1.NonIndexedCompletion) {
	case batchv1.NonIndexedCompletion:
		if each != nil {
			c.invalid(p.Child("backoffLimitPerIndex"), *each, "requires indexed completion mode")
		}
		if most != nil {
			c.invalid(p.Child("maxFailedIndexes"), *most, "requires indexed completion mode")
		}
	case batchv1.IndexedCompletion:
		if s.Completions == nil {
			return
		}
		if most != nil && *most > *s.Completions {
			c.invalid(p.Child("maxFailedIndexes"), *most, "must be less than or equal to completions")
		}
		if most != nil && *most > manyIndexes {
			c.invalid(p.Child("maxFailedIndexes"), *most, fmt.Sprintf("must be less than or equal to %d", manyIndexes))
		}
		if *s.Completions > manyIndexes && each != nil {
			c.manyIndexes(p, s)
		}
	}
}

// manyIndexes are as many as the status of a Job can tell of one by one.
const manyIndexes = 100_000

// manyIndexes bounds a Job of more than can be told of.
func (c *checker) manyIndexes(p *path, s *batchv1.JobSpec) {
	const atOnce, failed = 10_000, 10_000
	const above = "must be less than or equal to %d when completions are above %d and used with backoff limit per index"
	if s.MaxFailedIndexes == nil {
		c.required(p.Child("maxFailedIndexes"), fmt.Sprintf("must be specified when completions is above %d", manyIndexes))
	} else if *s.MaxFailedIndexes > failed {
		c.invalid(p.Child("maxFailedIndexes"), *s.MaxFailedIndexes, fmt.Sprintf(above, failed, manyIndexes))
	}
	if n := deref(s.Parallelism, 0); n > atOnce {
		c.invalid(p.Child("parallelism"), n, fmt.Sprintf(above, atOnce, manyIndexes))
	}
}

func (c *checker) jobUpdate(p *path, s, old *batchv1.JobSpec) {
	indexed := deref(s.CompletionMode, "") == batchv1.IndexedCompletion && equality.Semantic.DeepEqual(s.Completions, s.Parallelism)
	if !indexed && !equality.Semantic.DeepEqual(s.Completions, old.Completions) {
		c.invalid(p.Child("completions"), s.Completions, immutable)
	}
	c.sameSelector(p, s.Selector, old.Selector)
	now, was := s.Template, old.Template
	if deref(old.Suspend, false) {
		// Nothing has started: where its pods may run can still be decided.
		now.Annotations, now.Labels = was.Annotations, was.Labels
		now.Spec.NodeSelector, now.Spec.Affinity = was.Spec.NodeSelector, was.Spec.Affinity
		now.Spec.Tolerations, now.Spec.SchedulingGates = was.Spec.Tolerations, was.Spec.SchedulingGates
	}
	if !equality.Semantic.DeepEqual(&now, &was) {
		c.invalid(p.Child("template"), now, immutable)
	}
	if !equality.Semantic.DeepEqual(s.CompletionMode, old.CompletionMode) {
		c.invalid(p.Child("completionMode"), s.CompletionMode, immutable)
	}
	if !equality.Semantic.DeepEqual(s.BackoffLimitPerIndex, old.BackoffLimitPerIndex) {
		c.invalid(p.Child("backoffLimitPerIndex"), s.BackoffLimitPerIndex, immutable)
	}
	if !equality.Semantic.DeepEqual(s.SuccessPolicy, old.SuccessPolicy) {
		c.invalid(p.Child("successPolicy"), s.SuccessPolicy, immutable)
	}
	if !equality.Semantic.DeepEqual(s.ManagedBy, old.ManagedBy) {
		c.invalid(p.Child("managedBy"), s.ManagedBy, immutable)
	}
	if !equality.Semantic.DeepEqual(s.PodFailurePolicy, old.PodFailurePolicy) {
		c.invalid(p.Child("podFailurePolicy"), s.PodFailurePolicy, immutable)
	}
}

// cronJobName leaves room for the suffix of its jobs' names.
func cronJobName(name string, prefix bool) []string {
	messages := apivalidation.NameIsDNSSubdomain(name, prefix)
	if len(name) > 52 {
		messages = append(messages, "must be no more than 52 characters")
	}
	return messages
}

var timeZonePart = regexp.MustCompile(`^[[:alnum:].+_-]{1,14}$`)

// timeZone checks that a time zone has a name and is known.
func (c *checker) timeZone(p *path, zone string) {
	if zone == "" {
		c.invalid(p, zone, "timeZone must be nil or non-empty string")
		return
	}
	for part := range strings.SplitSeq(zone, "/") {
		if part == "." || part == ".." || strings.HasPrefix(part, "-") || !timeZonePart.MatchString(part) {
			c.invalid(p, zone, "unknown time zone "+zone)
			return
		}
	}
	if strings.EqualFold(zone, "Local") {
		c.invalid(p, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")
	}
	if _, err := time.LoadLocation(zone); err != nil {
		c.invalid(p, zone, err.Error())
	}
}

func checkCronJob(o, old *batchv1.CronJob) fieldErrors {
	c := &checker{}
	p, s := field.NewPath("spec"), &o.Spec
	if s.Schedule == "" {
		c.required(p.Child("schedule"), "")
	} else if strings.Contains(s.Schedule, "TZ") {
		c.invalid(p.Child("schedule"), s.Schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
	} else if why := cronSchedule(s.Schedule); why != "" {
		c.invalid(p.Child("schedule"), s.Schedule, why)
	}
	if s.TimeZone != nil && (old == nil || deref(old.Spec.TimeZone, "") != *s.TimeZone) {
		c.timeZone(p.Child("timeZone"), *s.TimeZone)
	}
	if d := s.StartingDeadlineSeconds; d != nil {
		c.nonNegative(p, "startingDeadlineSeconds", *d)
	}
	oneOf(c, p, "concurrencyPolicy", s.ConcurrencyPolicy, batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent)
	c.nonNegativePtr(p, "successfulJobsHistoryLimit", s.SuccessfulJobsHistoryLimit)
	c.nonNegativePtr(p, "failedJobsHistoryLimit", s.FailedJobsHistoryLimit)
	if s.JobTemplate.Spec.ManualSelector != nil {
		if *s.JobTemplate.Spec.ManualSelector {
			c.add(field.NotSupported(p.Child("jobTemplate", "spec", "manualSelector"), true, []string{"nil", "false"}))
		}
	}
	if s.JobTemplate.Spec.Selector != nil {
		c.invalid(p.Child("jobTemplate", "spec", "selector"), s.JobTemplate.Spec.Selector, "`selector` will be auto-generated")
	}
	c.jobSpec(p.Child("jobTemplate", "spec"), &s.JobTemplate.Spec)
	return c.errs
}
