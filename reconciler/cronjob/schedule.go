package cronjob

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // machines without zone files know zones too

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
)

// tooMany missed times are told of: the clock or the controller was away.
const tooMany = 100

// parse reads a CronJob's schedule in its time zone; without one the schedule
// is in the zone of the machine.
func parse(cj *batchv1.CronJob) (cron.Schedule, *time.Location, error) {
	zone := time.Local
	text := cj.Spec.Schedule
	if name := cj.Spec.TimeZone; name != nil && !strings.Contains(text, "TZ") {
		location, err := time.LoadLocation(*name)
		if err != nil {
			return nil, nil, &zoneError{*name, err}
		}
		zone = location
	}
	schedule, err := cron.ParseStandard(text)
	if err != nil {
		return nil, nil, err
	}
	return inZone{schedule, zone}, zone, nil
}

// zoneError is about a time zone that this machine does not know.
type zoneError struct {
	name string
	err  error
}

func (e *zoneError) Error() string { return fmt.Sprintf("invalid timeZone: %q: %v", e.name, e.err) }

func (e *zoneError) Unwrap() error { return e.err }

// inZone is a schedule whose times are those of a zone.
type inZone struct {
	cron.Schedule
	zone *time.Location
}

// Next is the first time of the schedule after t.
func (s inZone) Next(t time.Time) time.Time { return s.Schedule.Next(t.In(s.zone)) }

// due finds the newest time of a schedule in (after, now], and whether there
// were more than tooMany of them. The zero time: none.
func due(schedule cron.Schedule, after, now time.Time) (time.Time, bool) {
	var last time.Time
	t := after
	for range tooMany + 1 {
		next := schedule.Next(t)
		if next.IsZero() || next.After(now) {
			return last, false
		}
		if !next.After(t) {
			return last, false // a schedule that stands still is none
		}
		last, t = next, next
	}
	return newest(schedule, last, now), true
}

// newest finds the last time up to now, which last is at the latest before: it
// looks back further and further until it finds some.
func newest(schedule cron.Schedule, last, now time.Time) time.Time {
	if s, ok := schedule.(inZone); ok {
		if every, ok := s.Schedule.(cron.ConstantDelaySchedule); ok {
			return last.Add(now.Sub(last).Truncate(every.Delay))
		}
	}
	for back := time.Minute; ; back *= 8 {
		from := now.Add(-back)
		if !from.After(last) {
			from = last
		}
		found := time.Time{}
		for t := schedule.Next(from); !t.IsZero() && !t.After(now); t = schedule.Next(t) {
			found = t
		}
		if !found.IsZero() {
			return found
		}
		if from.Equal(last) {
			return last
		}
	}
}
