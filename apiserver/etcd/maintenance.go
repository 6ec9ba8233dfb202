package etcd

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"
)

// maintenance is the in-process client's, with a Status that counts what waits
// to be put into the database file, and a Defragment that works: etcd's own
// wants to tell a health service of its socket, which the in-process client
// does not have, and crashes.
type maintenance struct {
	clientv3.Maintenance
	server *etcdserver.EtcdServer
}

// Status tells of the member after its database file has caught up: the file
// lags behind by up to commitInterval, in which much can be written.
func (m *maintenance) Status(ctx context.Context, endpoint string) (*clientv3.StatusResponse, error) {
	m.server.Backend().ForceCommit()
	return m.Maintenance.Status(ctx, endpoint)
}

// Defragment rewrites the member's own database file.
func (m *maintenance) Defragment(ctx context.Context, _ string) (*clientv3.DefragmentResponse, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := m.server.Backend().Defrag(); err != nil {
		return nil, fmt.Errorf("defragment: %w", err)
	}
	return &clientv3.DefragmentResponse{}, nil
}
