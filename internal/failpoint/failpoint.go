package failpoint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Variable is the environment variable that switches points on.
const Variable = "HEADWAY_FAILPOINTS"

// ExitStatus is the exit status of a process that a point has ended.
const ExitStatus = 86

// Error is what Hit returns at a point whose action is error.
type Error struct {
	// Point is the name of the point.
	Point string
	// Text is what the action carried behind its colon; may be empty.
	Text string
}

func (e *Error) Error() string {
	if e.Text == "" {
		return "failpoint " + e.Point
	}
	return "failpoint " + e.Point + ": " + e.Text
}

// Is tells whether err comes from a point.
func Is(err error) bool {
	var e *Error
	return errors.As(err, &e)
}

type action struct {
	kind    string // error, exit or pause
	text    string
	after   int64 // hits that pass first
	hits    atomic.Int64
	cleared chan struct{}
}

var (
	on     atomic.Bool // whether any point is set: the one load on the fast path
	mu     sync.Mutex  // guards points
	points = map[string]*action{}
)

// Hit is called by the product where a point stands. It returns nil at once
// unless the point is on.
func Hit(ctx context.Context, point string) error {
	if !on.Load() {
		return nil
	}
	mu.Lock()
	a := points[point]
	mu.Unlock()
	if a == nil || a.hits.Add(1) <= a.after {
		return nil
	}
	switch a.kind {
	case "exit":
		os.Exit(ExitStatus)
	case "pause":
		select {
		case <-a.cleared:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return &Error{Point: point, Text: a.text}
}

// Set switches a point on; what names the action as in HEADWAY_FAILPOINTS.
// The function it returns switches the point off again and releases who
// waits at it. Setting a point twice replaces the first action.
func Set(point, what string) (clear func(), err error) {
	a, err := parse(what)
	if err != nil {
		return nil, fmt.Errorf("failpoint %s: %w", point, err)
	}
	mu.Lock()
	defer mu.Unlock()
	points[point] = a
	on.Store(true)
	return sync.OnceFunc(func() {
		mu.Lock()
		defer mu.Unlock()
		close(a.cleared)
		if points[point] == a {
			delete(points, point)
		}
		on.Store(len(points) > 0)
	}), nil
}

// Hits tells how often a point has been come to since it was switched on; 0
// when it is off.
func Hits(point string) int64 {
	mu.Lock()
	defer mu.Unlock()
	if a := points[point]; a != nil {
		return a.hits.Load()
	}
	return 0
}

// FromEnvironment switches on what HEADWAY_FAILPOINTS names. main calls it
// once, before any component starts.
func FromEnvironment() error {
	for entry := range strings.SplitSeq(os.Getenv(Variable), ";") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		point, what, ok := strings.Cut(entry, "=")
		if !ok {
			return fmt.Errorf("%s: %q is not POINT=ACTION", Variable, entry)
		}
		if _, err := Set(point, what); err != nil {
			return fmt.Errorf("%s: %w", Variable, err)
		}
	}
	return nil
}

func parse(what string) (*action, error) {
	a := &action{cleared: make(chan struct{})}
	if count, rest, ok := strings.Cut(what, "*"); ok {
		n, err := strconv.ParseInt(count, 10, 64)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is not a hit count of 1 or more", count)
		}
		a.after, what = n-1, rest
	}
	a.kind, a.text, _ = strings.Cut(what, ":")
	switch a.kind {
	case "error", "exit", "pause":
		return a, nil
	}
	return nil, fmt.Errorf("unknown action %q (error, exit or pause)", a.kind)
}
