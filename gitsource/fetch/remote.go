package fetch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/headway-sh/headway/gitsource/repo"
)

const (
	// firstPause is how long a remote that fails is left alone first; the pause
	// doubles with each failure up to lastPause, or the interval if that is
	// longer.
	firstPause = 5 * time.Second
	lastPause  = 10 * time.Minute
	// minGap is between two fetches, however often somebody calls for one.
	minGap = time.Second
	// maxMore is how many references are held because somebody asked for them.
	maxMore = 50
)

// remote is the goroutine of one target.
type remote struct {
	fetchers *Fetchers
	target   Target
	mirror   *repo.Repository
	stop     context.CancelFunc
	ended    chan struct{}
	wake     chan struct{}

	// What follows is guarded by the Fetchers' mutex.
	members map[*Member]bool
	more    []string // references that somebody has asked for
	ending  bool
	asked   bool     // somebody wants a fetch now
	calls   []func() // to be made when the next fetch has ended
	due     []func() // when this one has
	err     error
	fetched bool
}

func (r *remote) poke() {
	select {
	case r.wake <- struct{}{}:
	default: // it is awake already
	}
}

// run fetches until the context ends.
func (r *remote) run(ctx context.Context) {
	defer close(r.ended)
	defer func() {
		_ = r.mirror.Close() // only read from: nothing can be lost
		r.fetchers.mu.Lock()
		delete(r.fetchers.open, r.target)
		r.fetchers.mu.Unlock()
	}()
	clock := r.fetchers.cfg.Clock
	var failures int
	for ctx.Err() == nil {
		began := clock.Now()
		moved, err := r.once(ctx)
		if ctx.Err() != nil {
			return
		}
		r.tell(moved, err, clock.Since(began))
		failures++
		if err == nil {
			failures = 0
		}
		if moved { // else nothing has come that could be joined
			if err := r.mirror.Tidy(ctx); err != nil && ctx.Err() == nil {
				r.fetchers.cfg.Logger.Warn("a mirror of many small files stays so", "error", err)
			}
		}
		r.wait(ctx, failures, err)
	}
}

// has tells whether what is asked for already includes these patterns. The
// Fetchers' mutex is held.
func (r *remote) has(refs []string) bool {
	for _, ref := range refs {
		in := repo.IsAlwaysMirrored(ref) || slices.Contains(r.more, ref)
		for m := range r.members {
			in = in || slices.Contains(m.options.Refs, ref) || repo.MatchesRef(m.options.Refs, ref)
		}
		if !in {
			return false
		}
	}
	return true
}

// once brings the mirror up to date.
func (r *remote) once(ctx context.Context) (moved bool, err error) {
	r.fetchers.mu.Lock()
	r.asked = false
	refs := r.refs()
	for m := range r.members {
		if m.options.Began != nil {
			m.options.Began()
		}
	}
	r.due, r.calls = r.calls, nil
	r.fetchers.mu.Unlock()
	if r.target.Bundle {
		return r.mirror.Unbundle(ctx, r.target.URL)
	}
	from, err := r.fetchers.cfg.Remote(ctx, r.target)
	if err != nil {
		return false, err
	}
	from.Refs = refs
	moved, err = r.mirror.Fetch(ctx, from)
	if err == nil || ctx.Err() != nil || r.target.Fallback == "" {
		return moved, err
	}
	also, badly := r.mirror.UnbundleForward(ctx, r.target.Fallback)
	if badly != nil && !errors.Is(badly, fs.ErrNotExist) {
		err = fmt.Errorf("%w; the fallback: %w", err, badly)
	}
	return moved || also, err
}

// refs are the patterns of what the mirror holds beside branches and tags. The
// Fetchers' mutex is held.
func (r *remote) refs() []string {
	refs := slices.Clone(r.more)
	for m := range r.members {
		refs = append(refs, m.options.Refs...)
	}
	slices.Sort(refs)
	return slices.Compact(refs)
}

// push lets f bring something to the remote. When somebody was quicker, the
// mirror has been brought up to date, with whatever has moved besides: that no
// later fetch will find it moved any more is why all members are told here.
func (r *remote) push(ctx context.Context, f func(to repo.Remote) error) error {
	to, err := r.fetchers.cfg.Remote(ctx, r.target)
	if err != nil {
		return err
	}
	r.fetchers.mu.Lock()
	to.Refs = r.refs()
	r.fetchers.mu.Unlock()
	if err = f(to); errors.Is(err, repo.ErrRefMoved) {
		r.fetchers.mu.Lock()
		defer r.fetchers.mu.Unlock()
		for m := range r.members {
			m.options.Changed()
		}
	}
	return err
}

// tell hands the end of a fetch to everybody whom it concerns.
func (r *remote) tell(moved bool, err error, took time.Duration) {
	r.fetchers.mu.Lock()
	defer r.fetchers.mu.Unlock()
	changed := moved || err == nil && !r.fetched || text(err) != text(r.err)
	r.err, r.fetched = err, r.fetched || err == nil
	for m := range r.members {
		if m.options.Done != nil {
			m.options.Done(took, err)
		}
		if changed {
			m.options.Changed()
		}
	}
	for _, then := range r.due {
		then()
	}
	r.due = nil
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// wait returns when the next fetch is due.
func (r *remote) wait(ctx context.Context, failures int, err error) {
	clock := r.fetchers.cfg.Clock
	since := clock.Now()
	spread := 0.9 + 0.2*r.fetchers.cfg.Random()
	for {
		interval, asked := r.wants()
		pause := due(interval, failures, err, asked, spread) - clock.Since(since)
		if pause <= 0 || asked && r.target.Bundle {
			return
		}
		var timer <-chan time.Time
		if !r.target.Bundle { // whose changes are told of
			timer = clock.After(pause)
		}
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-timer:
		}
	}
}

// wants is the shortest interval of the members, and whether one of them wants
// a fetch now.
func (r *remote) wants() (interval time.Duration, asked bool) {
	r.fetchers.mu.Lock()
	defer r.fetchers.mu.Unlock()
	for m := range r.members {
		if interval == 0 || m.options.Interval < interval {
			interval = m.options.Interval
		}
	}
	return interval, r.asked
}

// due is how long after a fetch the next one comes.
func due(interval time.Duration, failures int, err error, asked bool, spread float64) time.Duration {
	pause := interval
	if failures > 0 {
		pause = min(interval, firstPause)
		for n := 1; n < failures && pause < max(lastPause, interval); n++ {
			pause *= 2
		}
		pause = min(pause, max(lastPause, interval))
	}
	pause = time.Duration(float64(pause) * spread)
	if asked {
		pause = minGap
	}
	var later *repo.LaterError
	if errors.As(err, &later) {
		pause = max(pause, later.After)
	}
	return pause
}
