package store

import (
	"context"
	"errors"
	"time"
)

const (
	// houseInterval is the least time between two rounds of housekeeping, and
	// between two weighings; houseRevisions is what makes a round due earlier.
	houseInterval  = 30 * time.Second
	houseRevisions = 1000
	// weighPart is the part of the quota after the writing of which the pressure
	// is looked at again: a flood of large objects does not wait for the round.
	weighPart = 100
	// defragmentAt is the pressure from which a file that is half empty is
	// worth the stall of making it smaller.
	defragmentAt = 0.6
	// hurryAt is the pressure from which history is kept no longer than
	// hurryRevisions, so that changes of large objects do not fill the storage.
	hurryAt        = 0.8
	hurryRevisions = 10
)

// Pressure is the part of the storage quota that is taken, from 0 to 1: the
// file as it was weighed, and all values that arrived since. The write path
// stops Events at 0.70 and ordinary creates at 0.85. It costs two atomic loads.
func (s *Store) Pressure() float64 {
	last := s.weighed.Load()
	if last == nil || last.Quota == 0 {
		return 0
	}
	return float64(last.Size+s.arrived.Load()-last.arrived) / float64(last.Quota)
}

// weighing is the backend's usage at one moment.
type weighing struct {
	Usage
	at      time.Time
	arrived int64 // bytes of values that had arrived when it began
}

// house is what housekeeping remembers between rounds.
type house struct {
	at       time.Time // of the last round
	revision int64     // at the last round
	past     []moment  // older revisions, oldest first
}

// moment is when a revision was the newest.
type moment struct {
	at       time.Time
	revision int64
}

// keepHouse compacts history and looks after the quota. It wakes only for
// writes: an idle store does nothing.
func (s *Store) keepHouse(ctx context.Context) error {
	h := &house{at: s.config.Clock.Now(), revision: s.Snapshot().revision}
	h.past = []moment{{h.at, h.revision}}
	s.weigh(ctx)
	for {
		select {
		case revision := <-s.wrote:
			now := s.config.Clock.Now()
			if s.weighingIsDue(now) {
				s.weigh(ctx)
				s.hurry(ctx)
			}
			if now.Sub(h.at) < houseInterval && revision-h.revision < houseRevisions {
				continue
			}
			h.at, h.revision = now, revision
			if to := h.forget(now, revision, s.config.HistoryTime, s.config.HistoryRevisions); to > 0 {
				s.compact(ctx, to)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// forget notes the moment and returns the revision that history may be
// forgotten up to: older than the time, and more than revisions behind; 0 for
// none.
func (h *house) forget(now time.Time, revision int64, age time.Duration, revisions int64) int64 {
	if last := h.past[len(h.past)-1].at; now.Sub(last) >= age/10 {
		h.past = append(h.past, moment{now, revision})
	}
	var to int64
	for len(h.past) > 0 && now.Sub(h.past[0].at) >= age && revision-h.past[0].revision >= revisions {
		to = h.past[0].revision
		h.past = h.past[1:]
	}
	if len(h.past) == 0 {
		h.past = []moment{{now, revision}}
	}
	return to
}

func (s *Store) compact(ctx context.Context, revision int64) {
	err := s.backend.Compact(ctx, revision)
	if err != nil && !errors.Is(err, ErrCompacted) && ctx.Err() == nil {
		s.config.Logger.Warn("history could not be compacted", "revision", revision, "err", err)
	}
}

// hurry forgets nearly all history when the storage is getting full: exact
// lists and watches of what is past begin anew, and writes find room.
func (s *Store) hurry(ctx context.Context) {
	revision := s.Snapshot().revision
	if s.Pressure() < hurryAt || revision <= hurryRevisions {
		return
	}
	s.compact(ctx, revision-hurryRevisions)
	s.weigh(ctx)
}

// weighingIsDue tells whether the pressure is to be looked at again: weighing
// has the file written, so that it is not done with every round.
func (s *Store) weighingIsDue(now time.Time) bool {
	last := s.weighed.Load()
	return last == nil || now.Sub(last.at) >= houseInterval || last.Quota > 0 && s.arrived.Load()-last.arrived > last.Quota/weighPart
}

// weigh refreshes the pressure, and makes the file smaller when it is large and
// mostly empty: the backend counts the file, not what is in it.
func (s *Store) weigh(ctx context.Context) {
	arrived := s.arrived.Load()
	u, err := s.backend.Usage(ctx)
	if err == nil && float64(u.Size) >= defragmentAt*float64(u.Quota) && u.InUse < u.Size/2 {
		if err = s.backend.Defragment(ctx); err == nil {
			u, err = s.backend.Usage(ctx)
		}
	}
	if err == nil {
		s.weighed.Store(&weighing{Usage: u, at: s.config.Clock.Now(), arrived: arrived})
	} else if ctx.Err() == nil {
		s.config.Logger.Warn("storage could not be looked after", "err", err)
	}
}
