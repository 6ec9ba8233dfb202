package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Times of a connection to an etcd elsewhere.
const (
	dialTimeout      = 5 * time.Second
	keepAliveTime    = 10 * time.Second
	keepAliveTimeout = 5 * time.Second
)

// External names an etcd that somebody else runs.
type External struct {
	// Endpoints are https URLs, or unix:///path of a socket on this machine.
	// Required.
	Endpoints []string
	// CertFile and KeyFile are shown to etcd, CAFile says whom to believe; all
	// are empty for sockets.
	CertFile, KeyFile, CAFile string
	// Logger hears the client's warnings. Required.
	Logger *slog.Logger
}

// Connect returns a client of an external etcd and makes sure that it answers.
// The caller closes it.
func Connect(ctx context.Context, external External) (*clientv3.Client, error) {
	if len(external.Endpoints) == 0 || external.Logger == nil {
		return nil, errors.New("external etcd: Endpoints and Logger are required")
	}
	config := clientv3.Config{
		Endpoints: external.Endpoints, Context: ctx, Logger: newLogger(external.Logger, new(atomic.Bool)),
		DialTimeout: dialTimeout, DialKeepAliveTime: keepAliveTime, DialKeepAliveTimeout: keepAliveTimeout,
		MaxCallSendMsgSize: MaxBytes + 1<<20, // etcd itself decides what is too large
	}
	if external.CAFile != "" {
		info := transport.TLSInfo{CertFile: external.CertFile, KeyFile: external.KeyFile, TrustedCAFile: external.CAFile}
		tls, err := info.ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("external etcd: %w", err)
		}
		config.TLS = tls
	}
	client, err := clientv3.New(config)
	if err != nil {
		return nil, fmt.Errorf("external etcd: %w", err)
	}
	probe, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if _, err := client.Get(probe, "/headway/marker", clientv3.WithCountOnly()); err != nil {
		return nil, errors.Join(fmt.Errorf("external etcd %v does not answer: %w", external.Endpoints, err), client.Close())
	}
	return client, nil
}
