package membership

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// KeySize is the length of a gossip key in bytes: AES-256.
const KeySize = 32

// Meta is what a member tells about itself. It travels in every packet about
// the member and is at most memberlist.MetaMaxSize bytes as JSON.
type Meta struct {
	// Node is the name of the Node object of the machine; empty without agent.
	Node string `json:"n,omitempty"`
	// API is the HOST:PORT of the machine's API server; empty without server.
	API string `json:"a,omitempty"`
}

// Member is one machine as gossip knows it.
type Member struct {
	Name    string
	Address netip.AddrPort
	Meta    Meta
	// Alive is gossip's opinion; suspected members still count as alive.
	Alive bool
}

// Config says who this member is and whom it first talks to.
type Config struct {
	// Name is unique in the cluster.
	Name string
	Meta Meta
	// Bind is where to listen, TCP and UDP. Port 0 picks one.
	Bind netip.AddrPort
	// Advertise is where others reach this member; zero: as bound.
	Advertise netip.AddrPort
	// Key seals the gossip; KeySize bytes. Others are believed as well.
	Key    []byte
	Others [][]byte
	// Seeds are HOST:PORT of members to join through; none for the first.
	Seeds  []string
	Logger *slog.Logger
}

// Validate tells what is missing.
func (c *Config) Validate() error {
	switch {
	case c.Name == "":
		return errors.New("membership: Name is needed")
	case !c.Bind.IsValid():
		return errors.New("membership: Bind is needed")
	case len(c.Key) != KeySize:
		return fmt.Errorf("membership: the key has %d bytes, want %d", len(c.Key), KeySize)
	case c.Logger == nil:
		return errors.New("membership: Logger is needed")
	}
	return nil
}

// leaveTimeout bounds how long a member tells others that it leaves.
const leaveTimeout = time.Second

// Membership is this machine's part in the gossip. It is safe for concurrent use.
type Membership struct {
	config Config
	meta   []byte
	list   *memberlist.Memberlist
	keys   *memberlist.Keyring
	log    *logWriter
	// rekeyed holds an element when the key that seals has changed.
	rekeyed chan struct{}

	receive atomic.Pointer[func(message []byte)]

	mu      sync.Mutex // guards what follows
	members map[string]Member
	watch   map[chan<- Member]bool
}

// New starts to listen. Run joins the others.
func New(config Config) (*Membership, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	meta, err := json.Marshal(config.Meta)
	if err != nil {
		return nil, err
	}
	if len(meta) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("membership: the member's description has %d bytes, more than %d", len(meta), memberlist.MetaMaxSize)
	}
	m := &Membership{config: config, meta: meta, log: &logWriter{logger: config.Logger}, rekeyed: make(chan struct{}, 1), members: map[string]Member{}, watch: map[chan<- Member]bool{}}
	lan := memberlist.DefaultLANConfig()
	lan.Name = config.Name
	lan.BindAddr, lan.BindPort = config.Bind.Addr().String(), int(config.Bind.Port())
	if config.Advertise.IsValid() {
		lan.AdvertiseAddr, lan.AdvertisePort = config.Advertise.Addr().String(), int(config.Advertise.Port())
	} else {
		lan.AdvertisePort = lan.BindPort
	}
	m.keys, err = memberlist.NewKeyring(config.Others, config.Key)
	if err != nil {
		return nil, fmt.Errorf("membership: %w", err)
	}
	lan.Keyring = m.keys
	lan.GossipVerifyIncoming, lan.GossipVerifyOutgoing = true, true
	lan.Delegate, lan.Events = delegate{m}, delegate{m}
	lan.LogOutput = m.log
	m.list, err = memberlist.Create(lan)
	if err != nil {
		return nil, fmt.Errorf("listen for gossip on %s: %w", config.Bind, err)
	}
	return m, nil
}

// Address is where this member listens.
func (m *Membership) Address() netip.AddrPort { return address(m.list.LocalNode()) }

// Dropped is how many packets and streams of nobody in this cluster were dropped:
// sealed with another key or none, or nothing that gossip says.
func (m *Membership) Dropped() int64 { return m.log.dropped.Load() }

// Run joins through the seeds, keeps trying while alone, and leaves when ctx
// ends.
func (m *Membership) Run(ctx context.Context) error {
	m.join(ctx)
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-m.rekeyed:
			m.greet()
		}
	}
	err := m.list.Leave(leaveTimeout)
	if err != nil {
		m.config.Logger.Debug("gossip: leave not heard by all", "error", err)
	}
	return m.list.Shutdown()
}

// greet exchanges all that is known with a few members. One that did not know
// the key in force for a while takes others for dead, and they it: they would
// find out by and by.
func (m *Membership) greet() {
	const few = 3
	var addresses []string
	for _, member := range m.Members() {
		if member.Name != m.config.Name && len(addresses) < few {
			addresses = append(addresses, member.Address.String())
		}
	}
	if len(addresses) == 0 {
		return
	}
	if _, err := m.list.Join(addresses); err != nil {
		m.config.Logger.Info("gossip: not all members answer after a change of keys", "error", err)
	}
}

// join returns when one seed has answered, there are none, or ctx has ended.
func (m *Membership) join(ctx context.Context) {
	if len(m.config.Seeds) == 0 {
		return
	}
	const longest = 30 * time.Second
	for wait := time.Second; ; wait = min(2*wait, longest) {
		_, err := m.list.Join(m.config.Seeds)
		if err == nil {
			return
		}
		m.config.Logger.Warn("gossip: no seed answers; trying again", "seeds", m.config.Seeds, "error", err)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// Members are all that were ever heard of in this life, by name, this one too.
func (m *Membership) Members() []Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]Member, 0, len(m.members))
	for _, member := range m.members {
		out = append(out, member)
	}
	slices.SortFunc(out, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Servers are the API endpoints of living members, HOST:PORT, sorted.
func (m *Membership) Servers() []string {
	var out []string
	for _, member := range m.Members() {
		if member.Alive && member.Meta.API != "" {
			out = append(out, member.Meta.API)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Watch sends every change of a member until stop is called. A receiver that
// does not keep up loses changes: read Members then.
func (m *Membership) Watch(changes chan<- Member) (stop func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watch[changes] = true
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watch, changes)
	}
}

// Receive has every message that a member sends to this one given to f, which
// may keep it but must not block. Messages are as good as gossip: any machine
// of the cluster can send any.
func (m *Membership) Receive(f func(message []byte)) { m.receive.Store(&f) }

// Send sends a message to a member in one packet, which may be lost.
func (m *Membership) Send(to Member, message []byte) error {
	node := &memberlist.Node{Name: to.Name, Addr: to.Address.Addr().AsSlice(), Port: to.Address.Port()}
	if err := m.list.SendBestEffort(node, message); err != nil {
		return fmt.Errorf("send to %q: %w", to.Name, err)
	}
	return nil
}

func (m *Membership) changed(node *memberlist.Node, alive bool) {
	member := Member{Name: node.Name, Address: address(node), Alive: alive}
	if err := json.Unmarshal(node.Meta, &member.Meta); err != nil && len(node.Meta) > 0 {
		m.config.Logger.Warn("gossip: a member's description cannot be read", "member", node.Name, "error", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.members[member.Name] = member
	for ch := range m.watch {
		select {
		case ch <- member:
		default:
		}
	}
}

func address(n *memberlist.Node) netip.AddrPort {
	ip, _ := netip.AddrFromSlice(n.Addr)
	return netip.AddrPortFrom(ip.Unmap(), n.Port)
}

// delegate is what memberlist calls.
type delegate struct{ m *Membership }

func (d delegate) NodeMeta(int) []byte { return d.m.meta }
func (d delegate) NotifyMsg(message []byte) {
	if f := d.m.receive.Load(); f != nil {
		(*f)(bytes.Clone(message)) // the buffer is memberlist's
	}
}
func (d delegate) GetBroadcasts(int, int) [][]byte { return nil }
func (d delegate) LocalState(bool) []byte          { return nil }
func (d delegate) MergeRemoteState([]byte, bool)   {}
func (d delegate) NotifyJoin(n *memberlist.Node)   { d.m.changed(n, true) }
func (d delegate) NotifyUpdate(n *memberlist.Node) { d.m.changed(n, true) }
func (d delegate) NotifyLeave(n *memberlist.Node)  { d.m.changed(n, false) }
