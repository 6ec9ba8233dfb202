package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
	"k8s.io/utils/clock"
)

// Config says where a Server listens and whom it asks for other names.
type Config struct {
	Zone *Zone
	// Packet and Stream are where to listen; the Server closes them.
	Packet *net.UDPConn
	Stream net.Listener
	// Upstreams are HOST:PORT of the resolvers for all other names, in order;
	// none: other names are refused.
	Upstreams []string
	// Clock tells the age of what upstreams have answered; nil: the machine's.
	Clock  clock.PassiveClock
	Logger *slog.Logger
}

// waiting is how many questions may wait for upstreams at a time. More are not
// answered, and their clients ask again.
const waiting = 1024

// Server answers DNS questions over UDP and TCP.
type Server struct {
	config    Config
	upstreams *upstreams
	ready     *ready
	slots     chan struct{}
}

// NewServer returns a Server.
func NewServer(config Config) *Server {
	if config.Clock == nil {
		config.Clock = clock.RealClock{}
	}
	return &Server{config: config, ready: newReady(config.Zone), slots: make(chan struct{}, waiting),
		upstreams: &upstreams{servers: config.Upstreams, clock: config.Clock, log: config.Logger}}
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error { return s.packets(ctx, group) })
	}
	stream := &dns.Server{Listener: s.config.Stream, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { s.stream(ctx, w, q) })}
	started := make(chan struct{})
	stream.NotifyStartedFunc = func() { close(started) }
	group.Go(func() error {
		if err := stream.ActivateAndServe(); err != nil && ctx.Err() == nil {
			return fmt.Errorf("serve cluster DNS: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		err := s.config.Packet.Close()
		select {
		case <-started:
			return errors.Join(err, stream.Shutdown())
		default: // it has not come to serving: closing ends it
			return errors.Join(err, s.config.Stream.Close())
		}
	})
	return group.Wait()
}

// packets answers what comes over UDP: at once what is ready, else aside.
func (s *Server) packets(ctx context.Context, group *errgroup.Group) error {
	in, out, scratch := make([]byte, dns.MaxMsgSize), make([]byte, 0, dns.MaxMsgSize), make([]byte, 0, 300)
	for {
		n, from, err := s.config.Packet.ReadFromUDPAddrPort(in)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("serve cluster DNS: %w", err)
			}
			continue // such as a client's port that is gone
		}
		q, usual := parse(in[:n], scratch)
		if usual {
			if answer := s.ready.get(q.key); answer != nil && len(answer) <= q.size {
				out = q.fill(out, answer, in[:n])
				s.send(out, from)
				continue
			}
		}
		select {
		case s.slots <- struct{}{}:
		default:
			continue
		}
		packet, key := append([]byte{}, in[:n]...), append([]byte{}, q.key...)
		group.Go(func() error {
			defer func() { <-s.slots }()
			s.general(ctx, packet, key, from)
			return nil
		})
	}
}

func (s *Server) send(packet []byte, to netip.AddrPort) {
	if _, err := s.config.Packet.WriteToUDPAddrPort(packet, to); err != nil {
		s.config.Logger.Debug("DNS answer not sent", "to", to.String(), "error", err)
	}
}

// general answers any packet. key is empty for what cannot be kept ready.
func (s *Server) general(ctx context.Context, packet, key []byte, from netip.AddrPort) {
	q := new(dns.Msg)
	if err := q.Unpack(packet); err != nil || q.Response {
		if err == nil || len(packet) < headerSize || packet[2]&(bitResponse>>8) != 0 {
			return // an answer to an answer would go to and fro
		}
		q = &dns.Msg{MsgHdr: q.MsgHdr}
		s.send(pack(new(dns.Msg).SetRcodeFormatError(q)), from)
		return
	}
	version := s.config.Zone.version.Load()
	answer, ours := s.answer(ctx, q, "udp")
	size := plainSize
	if opt := q.IsEdns0(); opt != nil {
		size = min(max(size, int(opt.UDPSize())), largestPacket)
	}
	if ours && len(key) > 0 {
		s.ready.put(key, version, answer, largestPacket)
	}
	answer.Truncate(size)
	s.send(pack(answer), from)
}

// pack never fails on what we have made; what an upstream made may.
func pack(m *dns.Msg) []byte {
	packed, err := m.Pack()
	if err == nil {
		return packed
	}
	failed := &dns.Msg{MsgHdr: dns.MsgHdr{Id: m.Id, Response: true, Rcode: dns.RcodeServerFailure}, Question: m.Question}
	packed, err = failed.Pack()
	if err != nil {
		return nil
	}
	return packed
}

func (s *Server) stream(ctx context.Context, w dns.ResponseWriter, q *dns.Msg) {
	answer, _ := s.answer(ctx, q, "tcp")
	answer.Truncate(dns.MaxMsgSize)
	if err := w.WriteMsg(answer); err != nil {
		s.config.Logger.Debug("DNS answer not sent", "to", w.RemoteAddr().String(), "error", err)
	}
}
