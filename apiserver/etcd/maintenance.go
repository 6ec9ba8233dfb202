package etcd

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"
)

// maintenance is the in-process client's, with a Defragment that works: etcd's
// own wants to tell a health service of its socket, which the in-process client
// does not have, and crashes.
type maintenance struct {
	clientv3.Maintenance
	server *etcdserver.EtcdServer
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
