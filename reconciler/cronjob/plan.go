package cronjob

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/reconciler/job"
)

// longestWait is the longest time until the clock is looked at again.
const longestWait = time.Minute

var kind = batchv1.SchemeGroupVersion.WithKind("CronJob")

// Plan is what one pass over a CronJob writes, in the order of its fields.
type Plan struct {
	// Prune are finished Jobs beyond the limits of the history.
	Prune []*batchv1.Job
	// Replace are running Jobs that make room for a new one.
	Replace []*batchv1.Job
	// Create is the Job whose time has come.
	Create *batchv1.Job
	// Status is what the Jobs say, before Create.
	Status batchv1.CronJobStatus
	// At is the time that Create is for; it becomes lastScheduleTime.
	At time.Time
	// Tell are events about what was found.
	Tell []Event
	// After is when to look again; 0: never.
	After time.Duration
}

// Event is told about the CronJob.
type Event struct {
	Type, Reason, Message string
	// At is the time of the schedule that it is about, if any: it is told once.
	At time.Time
}

func (p *Plan) note(at time.Time, reason, format string, args ...any) {
	p.Tell = append(p.Tell, Event{corev1.EventTypeNormal, reason, fmt.Sprintf(format, args...), at.UTC()})
}

func (p *Plan) warn(at time.Time, reason, format string, args ...any) {
	p.Tell = append(p.Tell, Event{corev1.EventTypeWarning, reason, fmt.Sprintf(format, args...), at.UTC()})
}

// Decide plans a pass. jobs are all that the CronJob controls.
func Decide(cj *batchv1.CronJob, jobs []*batchv1.Job, now time.Time) Plan {
	p := Plan{Status: *cj.Status.DeepCopy()}
	p.take(jobs)
	p.prune(cj, jobs)
	if cj.DeletionTimestamp == nil {
		p.start(cj, jobs, now)
	}
	return p
}

// take compares the list of active Jobs with those that there are.
func (p *Plan) take(jobs []*batchv1.Job) {
	there := map[types.UID]*batchv1.Job{}
	for _, j := range jobs {
		there[j.UID] = j
	}
	listed := map[types.UID]bool{}
	var active []corev1.ObjectReference
	for _, ref := range p.Status.Active {
		j := there[ref.UID]
		switch {
		case j == nil:
			p.note(time.Time{}, "MissingJob", "Active job went missing: %v", ref.Name)
		case job.Finished(j):
			p.note(time.Time{}, "SawCompletedJob", "Saw completed job: %s, condition: %v", j.Name, outcome(j))
		default:
			active = append(active, ref)
		}
		listed[ref.UID] = true
	}
	for _, j := range jobs {
		if done := j.Status.CompletionTime; succeeded(j) && done != nil && (p.Status.LastSuccessfulTime == nil || done.After(p.Status.LastSuccessfulTime.Time)) {
			p.Status.LastSuccessfulTime = done.DeepCopy()
		}
		if !listed[j.UID] && !job.Finished(j) && j.DeletionTimestamp == nil {
			p.note(time.Time{}, "UnexpectedJob", "Saw a job that the controller did not create or forgot: %s", j.Name)
			active = append(active, reference(j))
		}
	}
	p.Status.Active = active
}

func reference(j *batchv1.Job) corev1.ObjectReference {
	return corev1.ObjectReference{Kind: "Job", APIVersion: "batch/v1", Namespace: j.Namespace, Name: j.Name, UID: j.UID, ResourceVersion: j.ResourceVersion}
}

func outcome(j *batchv1.Job) batchv1.JobConditionType {
	if succeeded(j) {
		return batchv1.JobComplete
	}
	return batchv1.JobFailed
}

func succeeded(j *batchv1.Job) bool {
	return slices.ContainsFunc(j.Status.Conditions, func(c batchv1.JobCondition) bool {
		return c.Type == batchv1.JobComplete && c.Status == corev1.ConditionTrue
	})
}

// prune picks the oldest finished Jobs beyond the limits.
func (p *Plan) prune(cj *batchv1.CronJob, jobs []*batchv1.Job) {
	for _, group := range []struct {
		good  bool
		limit *int32
	}{{true, cj.Spec.SuccessfulJobsHistoryLimit}, {false, cj.Spec.FailedJobsHistoryLimit}} {
		if group.limit == nil {
			continue
		}
		var over []*batchv1.Job
		for _, j := range jobs {
			if job.Finished(j) && succeeded(j) == group.good && j.DeletionTimestamp == nil {
				over = append(over, j)
			}
		}
		slices.SortFunc(over, func(a, b *batchv1.Job) int {
			return cmp.Or(began(a).Compare(began(b)), strings.Compare(a.Name, b.Name))
		})
		p.Prune = append(p.Prune, over[:max(len(over)-int(*group.limit), 0)]...)
	}
}

func began(j *batchv1.Job) time.Time {
	if j.Status.StartTime != nil {
		return j.Status.StartTime.Time
	}
	return j.CreationTimestamp.Time
}

// start finds out whether a Job's time has come, and when the next one's will.
func (p *Plan) start(cj *batchv1.CronJob, jobs []*batchv1.Job, now time.Time) {
	if ptr.Deref(cj.Spec.Suspend, false) {
		return
	}
	schedule, zone, err := parse(cj)
	if err != nil {
		if zoneErr := new(zoneError); errors.As(err, &zoneErr) {
			p.warn(time.Time{}, "UnknownTimeZone", "%v", err)
		} else {
			p.warn(time.Time{}, "UnparseableSchedule", "unparseable schedule: %q : %s", cj.Spec.Schedule, err)
		}
		return
	}
	since := cj.CreationTimestamp.Time
	if cj.Status.LastScheduleTime != nil {
		since = cj.Status.LastScheduleTime.Time
	}
	next := schedule.Next(later(since, now))
	if next.IsZero() {
		p.warn(time.Time{}, "InvalidSchedule", "invalid schedule: %s : no time meets it", cj.Spec.Schedule)
		return
	}
	p.After = min(next.Sub(now), longestWait)
	earliest := since
	if limit := cj.Spec.StartingDeadlineSeconds; limit != nil {
		earliest = later(since, now.Add(-time.Duration(*limit)*time.Second))
	}
	at, many := due(schedule, earliest, now)
	if many {
		p.warn(at, "TooManyMissedTimes", "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew")
	}
	if !at.IsZero() {
		p.begin(cj, jobs, at, zone)
	} else if missed := schedule.Next(since); !missed.After(now) {
		p.warn(missed, "MissSchedule", "Missed scheduled time to start a job: %s", missed.UTC().Format(time.RFC1123Z))
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// begin plans the Job for a time, if the concurrency policy lets it start.
func (p *Plan) begin(cj *batchv1.CronJob, jobs []*batchv1.Job, at time.Time, zone *time.Location) {
	create := jobAt(cj, at, zone)
	if slices.ContainsFunc(p.Status.Active, func(r corev1.ObjectReference) bool { return r.Name == create.Name }) {
		return
	}
	if cj.Spec.ConcurrencyPolicy == batchv1.ForbidConcurrent && len(p.Status.Active) > 0 {
		p.note(at, "JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid")
		return
	}
	if cj.Spec.ConcurrencyPolicy == batchv1.ReplaceConcurrent {
		for _, j := range jobs {
			if slices.ContainsFunc(p.Status.Active, func(r corev1.ObjectReference) bool { return r.UID == j.UID }) {
				p.Replace = append(p.Replace, j)
			}
		}
	}
	p.Create, p.At = create, at
}

// jobAt is the Job for a time.
func jobAt(cj *batchv1.CronJob, at time.Time, zone *time.Location) *batchv1.Job {
	t := cj.Spec.JobTemplate.DeepCopy()
	annotations := maps.Clone(t.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[batchv1.CronJobScheduledTimestampAnnotation] = at.In(zone).Format(time.RFC3339)
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: cj.Namespace, Name: fmt.Sprintf("%s-%d", cj.Name, at.Unix()/60), Labels: t.Labels, Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(cj, kind)},
		},
		Spec: t.Spec,
	}
}
