package kinds

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// checkJobStatus keeps the promises that a Job's conditions make: that an end is
// announced before it is reached, that it is final, and that nothing runs after
// it. Rules about a field hold where it, or what it depends on, changes: what
// was stored before the rule stays writable.
func checkJobStatus(o, old *batchv1.Job) fieldErrors {
	c := &checker{}
	p, s := field.NewPath("status"), &o.Status
	c.counts(p, []count{{"active", s.Active}, {"succeeded", s.Succeeded}, {"failed", s.Failed}})
	c.nonNegativePtr(p, "ready", s.Ready)
	c.nonNegativePtr(p, "terminating", s.Terminating)
	if u := s.UncountedTerminatedPods; u != nil {
		seen := map[types.UID]bool{}
		c.podIDs(p.Child("uncountedTerminatedPods", "succeeded"), u.Succeeded, seen)
		c.podIDs(p.Child("uncountedTerminatedPods", "failed"), u.Failed, seen)
	}
	c.jobEnds(p, o, old)
	c.jobTimes(p, o, old)
	c.jobIndexes(p, o, old)
	c.jobCounters(p, o, old)
	return c.errs
}

func (c *checker) podIDs(p *path, ids []types.UID, seen map[types.UID]bool) {
	for i, id := range ids {
		switch {
		case id == "":
			c.invalid(p.Index(i), id, "must not be empty")
		case seen[id]:
			c.add(field.Duplicate(p.Index(i), id))
		}
		seen[id] = true
	}
}

// jobIs tells whether a Job has a condition.
func jobIs(o *batchv1.Job, t batchv1.JobConditionType) bool {
	for _, c := range o.Status.Conditions {
		if c.Type == t {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func jobFinished(o *batchv1.Job) bool {
	return jobIs(o, batchv1.JobComplete) || jobIs(o, batchv1.JobFailed)
}

// jobEnds checks conditions against each other, and against those before.
func (c *checker) jobEnds(p *path, o, old *batchv1.Job) {
	changed := func(all ...batchv1.JobConditionType) bool {
		for _, t := range all {
			if jobIs(o, t) != jobIs(old, t) {
				return true
			}
		}
		return false
	}
	complete, failed := jobIs(o, batchv1.JobComplete), jobIs(o, batchv1.JobFailed)
	target, met := jobIs(o, batchv1.JobFailureTarget), jobIs(o, batchv1.JobSuccessCriteriaMet)
	indexes := !equality.Semantic.DeepEqual(o.Status.FailedIndexes, old.Status.FailedIndexes)
	for _, rule := range [...]struct {
		broken bool
		why    string
	}{
		{complete && failed && changed(batchv1.JobComplete, batchv1.JobFailed), "cannot set Complete=True and Failed=true conditions"},
		{complete && target && changed(batchv1.JobComplete, batchv1.JobFailureTarget), "cannot set Complete=True and FailureTarget=true conditions"},
		{failed && !target && (changed(batchv1.JobFailed) || indexes), "cannot set Failed=True condition without the FailureTarget=true condition"},
		{complete && !met && changed(batchv1.JobComplete, batchv1.JobSuccessCriteriaMet), "cannot set Complete=True condition without the SuccessCriteriaMet=true condition"},
		{met && failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions"},
		{met && target, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"},
		{complete && !met && o.Spec.SuccessPolicy != nil, "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True"},
		{!failed && jobIs(old, batchv1.JobFailed), "cannot disable the terminal Failed=True condition"},
		{!complete && jobIs(old, batchv1.JobComplete), "cannot disable the terminal Complete=True condition"},
		{!target && jobIs(old, batchv1.JobFailureTarget), "cannot disable the terminal FailureTarget=True condition"},
		{!met && jobIs(old, batchv1.JobSuccessCriteriaMet), "cannot disable the SuccessCriteriaMet=True condition"},
		{met && !jobIs(old, batchv1.JobSuccessCriteriaMet) && jobIs(old, batchv1.JobComplete), "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"},
	} {
		if rule.broken {
			c.invalid(p.Child("conditions"), field.OmitValueType{}, rule.why)
		}
	}
}

// jobTimes checks when a Job began and came to its end.
func (c *checker) jobTimes(p *path, o, old *batchv1.Job) {
	s, was := &o.Status, &old.Status
	started, ended := !s.StartTime.Equal(was.StartTime), !s.CompletionTime.Equal(was.CompletionTime)
	complete := jobIs(o, batchv1.JobComplete)
	at := p.Child("completionTime")
	if turned := complete != jobIs(old, batchv1.JobComplete); turned || ended {
		if s.CompletionTime != nil && !complete {
			c.invalid(at, s.CompletionTime, "cannot set completionTime when there is no Complete=True condition")
		}
		if s.CompletionTime == nil && complete {
			c.required(at, "completionTime is required for Complete jobs")
		}
	}
	if (started || ended) && s.StartTime != nil && s.CompletionTime != nil && s.CompletionTime.Before(s.StartTime) {
		c.invalid(at, s.CompletionTime, "must be equal to or after `startTime`")
	}
	if ended && s.CompletionTime != nil && was.CompletionTime != nil {
		c.invalid(at, s.CompletionTime, immutable)
	}
	suspended := deref(o.Spec.Suspend, false)
	nothing := suspended && o.Spec.Completions != nil && *o.Spec.Completions == 0
	if (started || jobFinished(o) != jobFinished(old)) && jobFinished(o) && s.StartTime == nil && !nothing {
		c.required(p.Child("startTime"), "startTime is required for finished job")
	}
	if started && was.StartTime != nil && !suspended && !resuming(o, old) {
		c.invalid(p.Child("startTime"), s.StartTime, "field is immutable for unsuspended job once set")
	}
}

// resuming tells that a Job was suspended and is no longer.
func resuming(o, old *batchv1.Job) bool {
	told := false
	for _, c := range o.Status.Conditions {
		told = told || c.Type == batchv1.JobSuspended && c.Status == corev1.ConditionFalse
	}
	return told && jobIs(old, batchv1.JobSuspended)
}

// jobCounters checks how many pods there are against each other, against those
// before, and that there are none after the end.
func (c *checker) jobCounters(p *path, o, old *batchv1.Job) {
	s, was := &o.Status, &old.Status
	over := jobFinished(o)
	turned := over != jobFinished(old)
	active, ready := s.Active != was.Active, !equality.Semantic.DeepEqual(s.Ready, was.Ready)
	if over && s.Active > 0 && (turned || active) {
		c.invalid(p.Child("active"), s.Active, "active>0 is invalid for finished job")
	}
	if over && deref(s.Terminating, 0) > 0 && (turned || !equality.Semantic.DeepEqual(s.Terminating, was.Terminating)) {
		c.invalid(p.Child("terminating"), s.Terminating, "terminating>0 is invalid for finished job")
	}
	if u := s.UncountedTerminatedPods; over && u != nil && len(u.Failed)+len(u.Succeeded) > 0 && (turned || !equality.Semantic.DeepEqual(u, was.UncountedTerminatedPods)) {
		c.invalid(p.Child("uncountedTerminatedPods"), u, "must be empty for finished job")
	}
	if (ready || active) && deref(s.Ready, 0) > s.Active {
		c.invalid(p.Child("ready"), *s.Ready, "cannot set more ready pods than active")
	}
	if s.Failed < was.Failed {
		c.invalid(p.Child("failed"), s.Failed, "cannot decrease the failed counter")
	}
	// A Job of indexes can be made smaller.
	elastic := deref(o.Spec.CompletionMode, "") == batchv1.IndexedCompletion && equality.Semantic.DeepEqual(o.Spec.Completions, o.Spec.Parallelism)
	if s.Succeeded < was.Succeeded && !elastic {
		c.invalid(p.Child("succeeded"), s.Succeeded, "cannot decrease the succeeded counter")
	}
}

// jobIndexes checks which indexes are through.
func (c *checker) jobIndexes(p *path, o, old *batchv1.Job) {
	s := &o.Status
	completed := s.CompletedIndexes != old.Status.CompletedIndexes
	failed := !equality.Semantic.DeepEqual(s.FailedIndexes, old.Status.FailedIndexes)
	n := o.Spec.Completions
	at := p.Child("completedIndexes")
	if completed && n != nil {
		if _, err := indexIntervals(s.CompletedIndexes, *n); err != nil {
			c.invalid(at, s.CompletedIndexes, "error parsing completedIndexes: "+err.Error())
		}
	}
	if completed && s.CompletedIndexes != "" && deref(o.Spec.CompletionMode, "") != batchv1.IndexedCompletion {
		c.invalid(at, s.CompletedIndexes, "cannot set non-empty completedIndexes when non-indexed completion mode")
	}
	if s.FailedIndexes == nil {
		return
	}
	at = p.Child("failedIndexes")
	if failed && o.Spec.BackoffLimitPerIndex == nil {
		c.invalid(at, *s.FailedIndexes, "cannot set non-null failedIndexes when backoffLimitPerIndex is null")
	}
	if n == nil || !failed && !completed {
		return
	}
	bad, err := indexIntervals(*s.FailedIndexes, *n)
	if err != nil && failed && o.Spec.BackoffLimitPerIndex != nil {
		c.invalid(at, s.FailedIndexes, "error parsing failedIndexes: "+err.Error())
	}
	good, goodErr := indexIntervals(s.CompletedIndexes, *n)
	if err != nil || goodErr != nil {
		return
	}
	for _, b := range bad {
		for _, g := range good {
			if first := max(b.first, g.first); first <= min(b.last, g.last) {
				c.invalid(at, *s.FailedIndexes, fmt.Sprintf("failedIndexes and completedIndexes overlap at index: %d", first))
				return
			}
		}
	}
}

// interval is a run of indexes.
type interval struct{ first, last int }

// indexIntervals reads runs of indexes below n as Jobs write them: "1,3-5".
func indexIntervals(text string, n int32) ([]interval, error) {
	if text == "" {
		return nil, nil
	}
	var all []interval
	for run := range strings.SplitSeq(text, ",") {
		ends := strings.Split(run, "-")
		if len(ends) > 2 {
			return nil, fmt.Errorf("the fragment %q violates the requirement that an index interval can have at most two parts separated by '-'", run)
		}
		var of [2]int
		for i, end := range ends {
			x, err := strconv.Atoi(end)
			if err != nil {
				return nil, fmt.Errorf("cannot convert string to integer for index: %q", end)
			}
			if x >= int(n) {
				return nil, fmt.Errorf("too large index: %q", end)
			}
			of[i] = x
		}
		if len(ends) == 1 {
			of[1] = of[0]
		} else if of[0] >= of[1] {
			return nil, outOfOrder(of[0], of[1])
		}
		if len(all) > 0 && all[len(all)-1].last >= of[0] {
			return nil, outOfOrder(all[len(all)-1].last, of[0])
		}
		all = append(all, interval{of[0], of[1]})
	}
	return all, nil
}

func outOfOrder(before, after int) error {
	return errors.New("non-increasing order, previous: " + strconv.Itoa(before) + ", current: " + strconv.Itoa(after))
}
