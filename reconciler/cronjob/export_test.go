package cronjob

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
)

// Due finds the newest time of a schedule; see due.
func Due(schedule string, zone *time.Location, after, now time.Time) (time.Time, bool) {
	s, _, err := parse(cronOf(schedule, zone))
	if err != nil {
		panic(err)
	}
	return due(s, after, now)
}

// Next is the first time of a schedule after t.
func Next(schedule string, zone *time.Location, t time.Time) time.Time {
	s, _, err := parse(cronOf(schedule, zone))
	if err != nil {
		panic(err)
	}
	return s.Next(t)
}

func cronOf(schedule string, zone *time.Location) *batchv1.CronJob {
	name := zone.String()
	return &batchv1.CronJob{Spec: batchv1.CronJobSpec{Schedule: schedule, TimeZone: &name}}
}
