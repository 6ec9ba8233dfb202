// Package window tells when something may happen: in windows that open by a
// cron schedule, some of which allow and some of which deny. It is pure.
package window

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // machines without zone files know zones too

	"github.com/robfig/cron/v3"
)

// Limits of a window's duration.
const (
	MinDuration = time.Minute
	MaxDuration = 31 * 24 * time.Hour
)

// slack is more than clocks are ever moved by at once.
const slack = 26 * time.Hour

// What bounds the search for an opening: the starts that a window is open
// through without a pause, and the times that windows close one another.
const (
	maxStarts = 3000
	maxTurns  = 500
)

// Window opens at every time of a schedule and stays open for a while.
type Window struct {
	deny     bool
	schedule cron.Schedule
	duration time.Duration
	zone     *time.Location
}

var parser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

// New makes a window from the five fields of a schedule, a duration and a time
// zone's IANA name; empty: UTC.
func New(deny bool, schedule string, duration time.Duration, zone string) (*Window, error) {
	if strings.Contains(schedule, "=") || len(strings.Fields(schedule)) != 5 {
		return nil, errors.New("the schedule must have five fields: minute, hour, day of month, month and day of week")
	}
	parsed, err := parser.Parse(schedule)
	if err != nil {
		return nil, fmt.Errorf("the schedule is none: %w", err)
	}
	if duration < MinDuration || duration > MaxDuration {
		return nil, fmt.Errorf("the duration must be between %s and %s", MinDuration, MaxDuration)
	}
	if strings.EqualFold(zone, "local") {
		return nil, errors.New("the time zone must not be that of the machine")
	}
	location, err := time.LoadLocation(zone)
	if err != nil {
		return nil, fmt.Errorf("the time zone is none: %w", err)
	}
	return &Window{deny: deny, schedule: parsed, duration: duration, zone: location}, nil
}

// wall is what a clock in the window's zone shows, written as UTC. Schedules
// are read on it, so that a start in the hour that is left out in spring comes
// when the clock is put forward, and one in the hour that comes twice in autumn
// comes once.
func (w *Window) wall(t time.Time) time.Time {
	t = t.In(w.zone)
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// moment is when a clock in the zone shows a time.
func (w *Window) moment(wall time.Time) time.Time {
	t := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, w.zone)
	_, offset := t.Add(-slack / 2).Zone()
	if first := wall.Add(-time.Duration(offset) * time.Second); w.wall(first).Equal(wall) {
		return first // of two
	}
	if w.wall(t).Equal(wall) {
		return t
	}
	// There is no such time: the clock goes on at the moment where its offset
	// changes.
	low, high := t.Add(-slack/2), t.Add(slack/2)
	for high.Sub(low) > time.Second {
		middle := low.Add(high.Sub(low) / 2)
		if _, o := middle.Zone(); o == offset {
			low = middle
		} else {
			high = middle
		}
	}
	return high.Truncate(time.Second)
}

// open tells whether the window is open, and until when without a pause; zero:
// for good.
func (w *Window) open(now time.Time) (until time.Time, open bool) {
	start := w.schedule.Next(w.wall(now).Add(-w.duration - slack))
	for n := 0; !start.IsZero(); start = w.schedule.Next(start) {
		begin := w.moment(start)
		if begin.After(now) && (!open || begin.After(until)) {
			break
		}
		if end := begin.Add(w.duration); end.After(now) && end.After(until) {
			until, open = end, true
		}
		if begin.After(now) {
			if n++; n > maxStarts {
				return time.Time{}, true
			}
		}
	}
	return until, open
}

// next is the first start after a moment; zero: there is none within years.
func (w *Window) next(now time.Time) time.Time {
	for start := w.schedule.Next(w.wall(now).Add(-slack)); !start.IsZero(); start = w.schedule.Next(start) {
		if begin := w.moment(start); begin.After(now) {
			return begin
		}
	}
	return time.Time{}
}

// State is what a set of windows says at a moment.
type State struct {
	Open bool
	// Until is when that changes: the next opening, for a closed one. Zero:
	// not within years.
	Until time.Time
	// By is the index of the window that denies; -1 when the windows that allow
	// are all shut, or for an open state.
	By int
}

// At tells whether something may happen: not while a window denies it, and
// where there are windows that allow, only in one of them.
func At(windows []*Window, now time.Time) State {
	s, opens := at(windows, now)
	if s.Open {
		return s
	}
	for n := 0; n < maxTurns && !opens.IsZero(); n++ {
		var then State
		if then, opens = at(windows, opens); then.Open {
			s.Until = then.Until // when it opens; see below
			return s
		}
	}
	s.Until = time.Time{}
	return s
}

// at is At for one moment. For a closed state, next is the earliest moment at
// which it may have changed; an open one has the moment itself as Until.
func at(windows []*Window, now time.Time) (s State, next time.Time) {
	s.By = -1
	allows, allowed := false, false
	for i, w := range windows {
		until, open := w.open(now)
		switch {
		case w.deny && open:
			return State{By: i}, until
		case !w.deny && open:
			allows, allowed = true, true
		case !w.deny:
			allows = true
			if start := w.next(now); !start.IsZero() && (next.IsZero() || start.Before(next)) {
				next = start
			}
		}
	}
	if allows && !allowed {
		return s, next
	}
	return State{Open: true, Until: now, By: -1}, time.Time{}
}
