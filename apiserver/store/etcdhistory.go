package store

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"
)

// History reads a watch that begins in the past until it has caught up.
func (b *etcd) History(ctx context.Context, start, end string, from, to int64, limit int) ([]Past, error) {
	// A stream of its own: etcd tells progress only when all watches of a stream
	// have begun, and the store's begins with a revision that may be yet to come.
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(ctx, "headway-watch", "history"))
	defer cancel()
	events := b.client.Watch(ctx, start, clientv3.WithRange(end), clientv3.WithRev(from), clientv3.WithPrevKV())
	// No event may tell that the end is reached; a progress notice does.
	ask := time.NewTicker(progressAfter)
	defer ask.Stop()
	var all []Past
	for {
		select {
		case r, ok := <-events:
			if !ok {
				return nil, errors.Join(ctx.Err(), errors.New("the watch of the past ended"))
			}
			done, err := caughtUp(&r, to, limit, &all)
			if done || err != nil {
				return all, err
			}
		case <-ask.C:
			if err := b.Progress(ctx); err != nil {
				return nil, err
			}
		}
	}
}

// caughtUp takes over what a watch delivered, and tells whether all up to a
// revision is there.
func caughtUp(r *clientv3.WatchResponse, to int64, limit int, all *[]Past) (bool, error) {
	if r.CompactRevision > 0 {
		return false, ErrCompacted
	}
	if err := r.Err(); err != nil {
		return false, translate(err)
	}
	for _, e := range r.Events {
		if e.Kv.ModRevision > to {
			return true, nil
		}
		if len(*all) == limit || e.PrevKv == nil && !e.IsCreate() {
			return false, ErrCompacted
		}
		p := Past{Change: Change{Key: string(e.Kv.Key), Value: e.Kv.Value, Revision: e.Kv.ModRevision, Deleted: e.Type == mvccpb.Event_DELETE}}
		if e.PrevKv != nil {
			p.Previous = &KeyValue{Key: p.Key, Value: e.PrevKv.Value, Revision: e.PrevKv.ModRevision}
		}
		*all = append(*all, p)
	}
	return r.IsProgressNotify() && r.Header.Revision >= to, nil
}
