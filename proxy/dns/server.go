package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// Config says where a Server listens and whom it asks for other names.
type Config struct {
	Zone *Zone
	// Packet and Stream are where to listen; the Server closes them.
	Packet net.PacketConn
	Stream net.Listener
	// Upstreams are HOST:PORT of the resolvers for all other names, in order;
	// none: other names are refused.
	Upstreams []string
	Logger    *slog.Logger
}

// upstreamTimeout bounds one try of one upstream.
const upstreamTimeout = 2 * time.Second

// Server answers DNS questions over UDP and TCP.
type Server struct{ config Config }

// NewServer returns a Server.
func NewServer(config Config) *Server { return &Server{config: config} }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { s.serve(ctx, w, q) })
	servers := []*dns.Server{{PacketConn: s.config.Packet, Handler: handler}, {Listener: s.config.Stream, Handler: handler}}
	for _, server := range servers {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		group.Go(func() error {
			if err := server.ActivateAndServe(); err != nil && ctx.Err() == nil {
				return fmt.Errorf("serve cluster DNS: %w", err)
			}
			return nil
		})
		group.Go(func() error {
			<-ctx.Done()
			select {
			case <-started:
				if err := server.Shutdown(); err != nil {
					return fmt.Errorf("stop cluster DNS: %w", err)
				}
				return nil
			default: // it has not come to serving: closing ends it
				return errors.Join(s.config.Packet.Close(), s.config.Stream.Close())
			}
		})
	}
	return group.Wait()
}

func (s *Server) serve(ctx context.Context, w dns.ResponseWriter, q *dns.Msg) {
	answer := s.answer(ctx, w, q)
	size := dns.MaxMsgSize
	if w.RemoteAddr().Network() == "udp" {
		size = dns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = max(size, int(opt.UDPSize()))
		}
	}
	answer.Truncate(size)
	if err := w.WriteMsg(answer); err != nil {
		s.config.Logger.Debug("DNS answer not sent", "to", w.RemoteAddr().String(), "error", err)
	}
}

func (s *Server) answer(ctx context.Context, w dns.ResponseWriter, q *dns.Msg) *dns.Msg {
	reply := new(dns.Msg).SetReply(q)
	reply.Compress = true
	if q.Opcode != dns.OpcodeQuery || len(q.Question) != 1 || q.Question[0].Qclass != dns.ClassINET {
		reply.Rcode = dns.RcodeNotImplemented
		return reply
	}
	question := q.Question[0]
	rrs, exists, ours := s.config.Zone.Lookup(question.Name, question.Qtype)
	if !ours {
		return s.forward(ctx, w, q, reply)
	}
	reply.Authoritative, reply.RecursionAvailable = true, len(s.config.Upstreams) > 0
	reply.Answer = s.chase(ctx, rrs, question, w)
	if len(reply.Answer) == 0 {
		reply.Ns = []dns.RR{s.soa()}
		if !exists {
			reply.Rcode = dns.RcodeNameError
		}
	}
	return reply
}

// chase follows an ExternalName's CNAME, so that clients need not ask again.
func (s *Server) chase(ctx context.Context, rrs []dns.RR, question dns.Question, w dns.ResponseWriter) []dns.RR {
	out := make([]dns.RR, 0, len(rrs))
	for _, rr := range rrs {
		copied := dns.Copy(rr)
		copied.Header().Name = question.Name // in the case the client asked in
		out = append(out, copied)
		alias, ok := rr.(*dns.CNAME)
		if !ok || question.Qtype == dns.TypeCNAME {
			continue
		}
		if inner, _, ours := s.config.Zone.Lookup(alias.Target, question.Qtype); ours {
			out = append(out, inner...)
			continue
		}
		ask := new(dns.Msg).SetQuestion(alias.Target, question.Qtype)
		out = append(out, s.forward(ctx, w, ask, new(dns.Msg).SetReply(ask)).Answer...)
	}
	return out
}

// forward asks the upstreams in order; reply is what to say when none answers.
func (s *Server) forward(ctx context.Context, w dns.ResponseWriter, q, reply *dns.Msg) *dns.Msg {
	reply.Rcode = dns.RcodeRefused
	client := dns.Client{Net: w.RemoteAddr().Network(), Timeout: upstreamTimeout}
	for _, upstream := range s.config.Upstreams {
		answer, _, err := client.ExchangeContext(ctx, q, upstream)
		if err == nil {
			answer.Id = q.Id
			return answer
		}
		reply.Rcode = dns.RcodeServerFailure
		s.config.Logger.Debug("DNS upstream did not answer", "upstream", upstream, "error", err)
	}
	return reply
}

func (s *Server) soa() dns.RR {
	domain := s.config.Zone.domain
	return &dns.SOA{Hdr: header(domain, dns.TypeSOA), Ns: "ns.dns." + domain, Mbox: "hostmaster." + domain,
		Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: TTL}
}

// Upstreams reads the resolvers of a resolv.conf, without own, which would ask
// itself.
func Upstreams(path string, own net.IP) ([]string, error) {
	config, err := dns.ClientConfigFromFile(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	var out []string
	for _, server := range config.Servers {
		if !net.ParseIP(server).Equal(own) {
			out = append(out, net.JoinHostPort(server, config.Port))
		}
	}
	return out, nil
}
