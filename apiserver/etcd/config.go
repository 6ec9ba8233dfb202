package etcd

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
)

// Defaults and fixed limits of a member.
const (
	// DefaultName is the member's name when it is alone.
	DefaultName = "headway"
	// DefaultQuota is how large the database file may grow, in bytes.
	DefaultQuota = 8 << 30
	// MaxOperations and MaxBytes bound one transaction.
	MaxOperations = 8192
	MaxBytes      = 16 << 20
	// DefaultHeartbeat and DefaultElection are raft's times among several
	// members.
	DefaultHeartbeat = 100 * time.Millisecond
	DefaultElection  = time.Second
	// A member that is alone has nobody to beat for and campaigns without
	// waiting: its ticks would only cost.
	aloneHeartbeat = 500 * time.Millisecond
	aloneElection  = 5 * aloneHeartbeat
	// commitInterval is how long the database file may lag behind the log,
	// which is what makes writes durable.
	commitInterval = 500 * time.Millisecond

	// SocketName is the client socket's name in the data directory.
	SocketName = "client.sock"
	// maxSocketPath is what a unix socket's address can hold.
	maxSocketPath = 107
	// aloneURL identifies a member without peers; nothing listens there.
	aloneURL = "http://127.0.0.1:2380"

	// formatVersion is of the data directory as a whole.
	formatVersion = 1

	// A raft snapshot is taken every snapshotEntries and catchUpEntries are
	// kept in memory for followers that lag.
	snapshotEntries = 2000
	catchUpEntries  = 1000
)

// Config is what a member is made of.
type Config struct {
	// DataDir is the member's own directory. Required.
	DataDir string
	// Name of the member in the cluster; empty: DefaultName.
	Name string
	// PeerURL is where other members reach this one, such as
	// https://10.0.0.1:2380. Empty: the member is alone and does not listen.
	PeerURL string
	// ListenPeerURL replaces PeerURL as the address to listen on.
	ListenPeerURL string
	// InitialCluster names all members, "a=https://…,b=https://…"; empty: only
	// this one. It is read when the data directory is new.
	InitialCluster string
	// Join says that the cluster exists already.
	Join bool
	// Token tells clusters apart when they begin; all members of one have the
	// same. A member that is alone makes one up.
	Token string
	// PeerTLS secures the traffic between members; required for https URLs.
	PeerTLS *PeerTLS
	// Quota replaces DefaultQuota.
	Quota int64
	// Heartbeat and Election replace raft's default times; Election is at least
	// five heartbeats.
	Heartbeat, Election time.Duration
	// Logger hears etcd's warnings and errors. Required.
	Logger *slog.Logger `json:"-"`
}

// PeerTLS names the files that members show to each other. They are read again
// for every connection, so that rotation needs no restart.
type PeerTLS struct {
	CertFile, KeyFile, CAFile string
}

func (c Config) withDefaults() (Config, error) {
	if c.DataDir == "" || c.Logger == nil {
		return c, errors.New("etcd config: DataDir and Logger are required")
	}
	dir, err := filepath.Abs(c.DataDir)
	if err != nil {
		return c, fmt.Errorf("etcd config: %w", err)
	}
	c.DataDir = dir
	if c.Name == "" {
		c.Name = DefaultName
	}
	if c.PeerURL == "" && c.InitialCluster != "" {
		return c, errors.New("etcd config: a cluster of several members needs a PeerURL")
	}
	if c.InitialCluster == "" && c.Token == "" {
		c.Token = rand.Text()
	}
	if c.ListenPeerURL == "" {
		c.ListenPeerURL = c.PeerURL
	}
	if c.Quota == 0 {
		c.Quota = DefaultQuota
	}
	heartbeat, election := DefaultHeartbeat, DefaultElection
	if c.PeerURL == "" {
		heartbeat, election = aloneHeartbeat, aloneElection
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = heartbeat
	}
	if c.Election == 0 {
		c.Election = election
	}
	return c, nil
}

// embedded translates to etcd's own configuration.
func (c Config) embedded(closing *atomic.Bool) (*embed.Config, error) {
	e := embed.NewConfig()
	e.Dir = c.DataDir
	e.Name = c.Name
	e.ZapLoggerBuilder = embed.NewZapLoggerBuilder(newLogger(c.Logger, closing))
	e.TickMs = uint(c.Heartbeat.Milliseconds())
	e.ElectionMs = uint(c.Election.Milliseconds())
	e.PreVote = true
	e.BackendBatchInterval = commitInterval
	e.QuotaBackendBytes = c.Quota
	e.MaxTxnOps = MaxOperations
	e.MaxRequestBytes = MaxBytes
	e.SnapshotCount = snapshotEntries
	e.SnapshotCatchUpEntries = catchUpEntries
	e.AutoCompactionRetention = "0"
	e.EnableGRPCGateway = false
	e.InitialClusterToken = c.Token
	if c.Join {
		e.ClusterState = embed.ClusterStateFlagExisting
	}
	if err := c.listeners(e); err != nil {
		return nil, err
	}
	if c.PeerTLS != nil {
		e.PeerTLSInfo = transport.TLSInfo{CertFile: c.PeerTLS.CertFile, KeyFile: c.PeerTLS.KeyFile, TrustedCAFile: c.PeerTLS.CAFile, ClientCertAuth: true}
	}
	return e, nil
}

// listeners sets where the member listens and how others call it.
func (c Config) listeners(e *embed.Config) error {
	socket := filepath.Join(c.DataDir, SocketName)
	e.ListenClientUrls = nil
	if len(socket) <= maxSocketPath {
		e.ListenClientUrls = []url.URL{{Scheme: "unix", Path: socket}}
	} else {
		c.Logger.Warn("the data directory's path is too long for etcd's client socket, going on without it", "path", socket, "limit", maxSocketPath)
	}
	e.AdvertiseClientUrls = []url.URL{{Scheme: "unix", Path: socket}}

	advertised := c.PeerURL
	e.ListenPeerUrls = nil
	if c.PeerURL == "" {
		advertised = aloneURL
	} else {
		listen, err := url.Parse(c.ListenPeerURL)
		if err != nil {
			return fmt.Errorf("etcd config: listen URL: %w", err)
		}
		e.ListenPeerUrls = []url.URL{*listen}
	}
	peer, err := url.Parse(advertised)
	if err != nil {
		return fmt.Errorf("etcd config: peer URL: %w", err)
	}
	e.AdvertisePeerUrls = []url.URL{*peer}
	if e.InitialCluster = c.InitialCluster; e.InitialCluster == "" {
		e.InitialCluster = c.Name + "=" + advertised
	}
	return nil
}

// tighten makes the client socket the owner's alone. The directory is 0700, so
// there is no moment in which others could connect.
func (c Config) tighten(e *embed.Config) error {
	for _, u := range e.ListenClientUrls {
		if err := os.Chmod(u.Path, 0o600); err != nil {
			return fmt.Errorf("protect client socket: %w", err)
		}
	}
	return nil
}
