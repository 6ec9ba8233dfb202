// Package cronjob makes Jobs at the times of CronJobs. It writes Jobs (their
// existence) and the status of CronJobs.
//
// The name of a Job is made of the minute that it is for, so that a Job is never
// made twice for one time, whoever dies in between. Only the newest of several
// missed times is made up for.
//
// A timer measures time that passes and not what the clock shows, so no wait is
// longer than a minute: a clock that is set forward is noticed by then. One that
// is set back makes nothing start again.
package cronjob
