package memkv

import (
	"context"
	"sort"

	"github.com/headway-sh/headway/apiserver/store"
)

// watch is one watch's position.
type watch struct {
	start, end string
	next       int64 // the first revision not delivered yet
	dropped    int   // the server's counts when the watch began
	progress   int
}

// Watch implements store.Backend.
func (s *Server) Watch(ctx context.Context, start, end string, revision int64) <-chan store.Update {
	updates := make(chan store.Update)
	s.mu.Lock()
	w := &watch{start: start, end: end, next: revision, dropped: s.dropped, progress: s.progress}
	s.mu.Unlock()
	go func() {
		defer close(updates)
		for ctx.Err() == nil {
			u, changed, ok := s.poll(w)
			if !ok {
				select {
				case <-changed:
				case <-ctx.Done():
				}
				continue
			}
			select {
			case updates <- u:
			case <-ctx.Done():
			}
			if u.Err != nil {
				return
			}
		}
	}()
	return updates
}

// poll takes what a watch has to deliver next, or the channel that is closed
// when there may be something.
func (s *Server) poll(w *watch) (store.Update, <-chan struct{}, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.dropped != w.dropped:
		return store.Update{Err: errDropped}, nil, true
	case s.held:
		return store.Update{}, s.changed, false
	case w.next <= s.compacted && w.next <= s.revision:
		return store.Update{Err: store.ErrCompacted}, nil, true
	}
	from := sort.Search(len(s.log), func(i int) bool { return s.log[i].Revision >= w.next })
	u := store.Update{Revision: s.revision}
	for _, c := range s.log[from:] {
		if w.start <= c.Key && c.Key < w.end {
			u.Changes = append(u.Changes, c)
		}
	}
	w.next = max(w.next, s.revision+1)
	if len(u.Changes) == 0 && w.progress == s.progress {
		return store.Update{}, s.changed, false
	}
	w.progress = s.progress
	return u, nil, true
}

// History implements store.Backend.
func (s *Server) History(ctx context.Context, start, end string, from, to int64, limit int) ([]store.Past, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if from <= s.compacted {
		return nil, store.ErrCompacted
	}
	var all []store.Past
	for _, c := range s.log {
		if c.Revision < from || c.Revision > to || c.Key < start || c.Key >= end {
			continue
		}
		if len(all) == limit {
			return nil, store.ErrCompacted
		}
		p := store.Past{Change: c}
		if v, ok := s.at(c.Key, c.Revision-1); ok {
			p.Previous = &store.KeyValue{Key: c.Key, Value: v.value, Revision: v.revision}
		}
		all = append(all, p)
	}
	return all, ctx.Err()
}
