package store

import (
	"context"
	"fmt"
	"strconv"
)

// mark writes the marker after a batch, so that there is a revision to publish
// that is not the batch's. Marking one batch twice does no harm.
func (s *Store) mark(ctx context.Context, batch int64) (int64, error) {
	r, err := s.backend.Txn(ctx, Request{Ops: []Op{{Key: markerKey, Value: strconv.AppendInt(nil, batch, 10)}}})
	if err != nil {
		return 0, fmt.Errorf("mark batch %d: %w", batch, err)
	}
	return r.Revision, nil
}

// markAbandoned marks batches whose writers did not, because they died.
func (s *Store) markAbandoned(ctx context.Context) error {
	for {
		select {
		case batch := <-s.unmarked:
			if _, err := s.mark(ctx, batch); err != nil && ctx.Err() == nil {
				s.config.Logger.Warn("abandoned batch could not be marked, trying again", "err", err)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
