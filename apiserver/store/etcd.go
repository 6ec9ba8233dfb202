package store

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Limits of operations in a transaction that an etcd may have; its error does
// not say which.
const (
	// stockOperations is etcd's own default.
	stockOperations = 128
	// ownOperations is what members started by this project take.
	ownOperations = 8192
)

// NewEtcd returns the backend on an etcd client, in process or remote.
func NewEtcd(client *clientv3.Client) Backend { return &etcd{client: client} }

type etcd struct {
	client *clientv3.Client
}

func (b *etcd) Txn(ctx context.Context, r Request) (Response, error) {
	compares := make([]clientv3.Cmp, len(r.Checks))
	for i := range r.Checks {
		compares[i] = compare(&r.Checks[i])
	}
	ops := make([]clientv3.Op, len(r.Ops))
	for i, o := range r.Ops {
		if ops[i] = clientv3.OpPut(o.Key, string(o.Value)); o.Delete {
			ops[i] = clientv3.OpDelete(o.Key)
		}
		if o.If != nil {
			ops[i] = clientv3.OpTxn([]clientv3.Cmp{compare(o.If)}, []clientv3.Op{ops[i]}, nil)
		}
	}
	answer, err := b.client.Txn(ctx).If(compares...).Then(ops...).Commit()
	if errors.Is(err, rpctypes.ErrTooManyOps) {
		limit := stockOperations
		if max(len(ops), len(compares)) > ownOperations {
			limit = ownOperations
		}
		return Response{}, &LimitError{Operations: limit}
	}
	if err != nil {
		return Response{}, translate(err)
	}
	response := Response{Held: answer.Succeeded, Revision: answer.Header.Revision}
	if !answer.Succeeded {
		return response, nil
	}
	response.Done = make([]bool, len(r.Ops))
	for i := range r.Ops {
		response.Done[i] = r.Ops[i].If == nil || answer.Responses[i].GetResponseTxn().Succeeded
	}
	return response, nil
}

func compare(c *Check) clientv3.Cmp {
	if c.Value != nil {
		return clientv3.Compare(clientv3.Value(c.Key), "=", string(c.Value))
	}
	return clientv3.Compare(clientv3.ModRevision(c.Key), "=", c.Revision)
}

func (b *etcd) Range(ctx context.Context, start, end string, revision int64, limit int) (RangeResult, error) {
	options := []clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(int64(limit))}
	if revision > 0 {
		options = append(options, clientv3.WithRev(revision), clientv3.WithSerializable())
	}
	answer, err := b.client.Get(ctx, start, options...)
	if revision > 0 && errors.Is(err, rpctypes.ErrFutureRev) {
		// The member that answered is behind the one that told the revision.
		answer, err = b.client.Get(ctx, start, clientv3.WithRange(end), clientv3.WithLimit(int64(limit)), clientv3.WithRev(revision))
	}
	if err != nil {
		return RangeResult{}, translate(err)
	}
	result := RangeResult{Revision: answer.Header.Revision, More: answer.More, Items: make([]KeyValue, len(answer.Kvs))}
	for i, kv := range answer.Kvs {
		result.Items[i] = KeyValue{Key: string(kv.Key), Value: kv.Value, Revision: kv.ModRevision}
	}
	return result, nil
}

func (b *etcd) Revision(ctx context.Context) (int64, error) {
	answer, err := b.client.Get(ctx, markerKey, clientv3.WithCountOnly())
	if err != nil {
		return 0, translate(err)
	}
	return answer.Header.Revision, nil
}

func (b *etcd) Watch(ctx context.Context, start, end string, revision int64) <-chan Update {
	updates := make(chan Update)
	go func() {
		defer close(updates)
		for r := range b.client.Watch(ctx, start, clientv3.WithRange(end), clientv3.WithRev(revision)) {
			select {
			case updates <- update(r):
			case <-ctx.Done():
				return
			}
			if r.Err() != nil {
				return
			}
		}
	}()
	return updates
}

func update(r clientv3.WatchResponse) Update {
	if r.CompactRevision > 0 {
		return Update{Err: fmt.Errorf("%w: history begins at %d", ErrCompacted, r.CompactRevision)}
	}
	if err := r.Err(); err != nil {
		return Update{Err: translate(err)}
	}
	u := Update{Revision: r.Header.Revision, Changes: make([]Change, len(r.Events))}
	for i, e := range r.Events {
		u.Changes[i] = Change{Key: string(e.Kv.Key), Value: e.Kv.Value, Revision: e.Kv.ModRevision, Deleted: e.Type == mvccpb.Event_DELETE}
	}
	return u
}

func (b *etcd) Progress(ctx context.Context) error {
	return translate(b.client.RequestProgress(ctx))
}

func (b *etcd) Compact(ctx context.Context, revision int64) error {
	_, err := b.client.Compact(ctx, revision)
	return translate(err)
}

func (b *etcd) Usage(ctx context.Context) (Usage, error) {
	answer, err := b.client.Status(ctx, b.endpoint())
	if err != nil {
		return Usage{}, translate(err)
	}
	return Usage{Size: answer.DbSize, InUse: answer.DbSizeInUse, Quota: answer.DbSizeQuota}, nil
}

func (b *etcd) Defragment(ctx context.Context) error {
	_, err := b.client.Defragment(ctx, b.endpoint())
	return translate(err)
}

// endpoint is the member that maintenance calls are for; the one in process
// needs no address.
func (b *etcd) endpoint() string {
	if endpoints := b.client.Endpoints(); len(endpoints) > 0 {
		return endpoints[0]
	}
	return ""
}

// translate gives the backend's own names to etcd's errors.
func translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, rpctypes.ErrCompacted):
		return ErrCompacted
	case errors.Is(err, rpctypes.ErrNoSpace):
		return ErrStorageFull
	case errors.Is(err, rpctypes.ErrRequestTooLarge):
		return &LimitError{Bytes: true}
	}
	return err
}
