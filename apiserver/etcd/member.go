package etcd

import (
	"context"
	"errors"
	"expvar"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/headway-sh/headway/internal/dataformat"
)

// Member is a running etcd member.
type Member struct {
	etcd    *embed.Etcd
	client  *clientv3.Client
	closed  sync.Once
	closing atomic.Bool
}

// Start starts a member and returns when it serves: at once when it is alone,
// else when a quorum has a leader. The caller closes it.
func Start(ctx context.Context, config Config) (*Member, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := dataformat.Check(config.DataDir, "etcd", formatVersion); err != nil {
		return nil, err
	}
	m := &Member{}
	settings, err := config.embedded(&m.closing)
	if err != nil {
		return nil, err
	}
	if m.etcd, err = embed.StartEtcd(settings); err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	m.client = v3client.New(m.etcd.Server)
	m.client.Maintenance = &maintenance{Maintenance: m.client.Maintenance, server: m.etcd.Server}
	if err := config.tighten(settings); err != nil {
		m.Close()
		return nil, err
	}
	if err := m.ready(ctx); err != nil {
		m.Close()
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	return m, nil
}

// ready waits until the member serves. One that is alone need not wait for its
// election timer: it is told what a leader that hands over tells its successor.
func (m *Member) ready(ctx context.Context) error {
	server := m.etcd.Server
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for campaigned := false; ; {
		if !campaigned && m.Alone() && m.settled() {
			campaigned = true
			if err := m.campaign(ctx); err != nil {
				return err
			}
		}
		select {
		case <-server.ReadyNotify():
			return nil
		case err := <-m.etcd.Err():
			return err
		case <-server.StopNotify():
			return errors.New("the member stopped")
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// settled tells whether raft knows that all of its log is applied. A campaign
// before that can panic: etcd drops the first entries from memory once it has
// applied them, a moment before it tells raft, and a campaign reads all that
// raft believes to be unapplied. Raft's own view is only in the variable that
// etcd publishes for its newest member; an older one waits for its timer.
func (m *Member) settled() bool {
	published, ok := expvar.Get("raft.status").(expvar.Func)
	if !ok {
		return false
	}
	status, ok := published.Value().(raft.Status)
	return ok && status.ID == uint64(m.etcd.Server.MemberID()) && status.GetCommit() > 0 && status.Applied >= status.GetCommit()
}

// campaign begins an election now.
func (m *Member) campaign(ctx context.Context) error {
	id, kind := uint64(m.etcd.Server.MemberID()), raftpb.MsgTimeoutNow
	if err := m.etcd.Server.Process(ctx, &raftpb.Message{Type: &kind, To: &id, From: &id}); err != nil {
		return fmt.Errorf("campaign: %w", err)
	}
	return nil
}

// Client calls the member in process. It is closed with the member.
func (m *Member) Client() *clientv3.Client { return m.client }

// Leads tells whether the member is the leader now.
func (m *Member) Leads() bool { return m.etcd.Server.Leader() == m.etcd.Server.MemberID() }

// Alone tells whether the member is the only one that votes.
func (m *Member) Alone() bool {
	voters := 0
	for _, member := range m.etcd.Server.Cluster().Members() {
		if !member.IsLearner {
			voters++
		}
	}
	return voters == 1
}

// Run returns when ctx ends, after the member was closed in good order, or with
// an error when the member fails.
func (m *Member) Run(ctx context.Context) error {
	defer m.Close()
	select {
	case <-ctx.Done():
		return nil
	case err := <-m.etcd.Err():
		return fmt.Errorf("run etcd: %w", err)
	case <-m.etcd.Server.StopNotify():
		return errors.New("run etcd: the member stopped")
	}
}

// Close stops the member and waits for it. Whoever uses the client is stopped
// first.
func (m *Member) Close() {
	m.closed.Do(func() {
		m.closing.Store(true)
		_ = m.client.Close() // it has no connection; what it returns is its context's end
		m.etcd.Close()
	})
}
