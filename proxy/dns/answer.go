package dns

import (
	"context"

	"github.com/miekg/dns"
)

// longestChain bounds how many names an ExternalName leads through.
const longestChain = 8

// answer answers a message. ours tells whether all of it is the zone's, so that
// it holds until the zone changes.
func (s *Server) answer(ctx context.Context, q *dns.Msg, network string) (reply *dns.Msg, ours bool) {
	reply = new(dns.Msg).SetReply(q)
	reply.Compress = true
	opt := q.IsEdns0()
	switch {
	case len(q.Question) != 1:
		reply.Rcode = dns.RcodeFormatError
	case q.Opcode != dns.OpcodeQuery || q.Question[0].Qclass != dns.ClassINET:
		reply.Rcode = dns.RcodeNotImplemented
	case opt != nil && opt.Version() != 0:
		reply.Rcode = dns.RcodeBadVers
	default:
		reply, ours = s.find(ctx, q, reply, network)
	}
	if opt != nil {
		reply.SetEdns0(largestPacket, opt.Do())
	}
	reply.Compress = true
	return reply, ours
}

func (s *Server) find(ctx context.Context, q, reply *dns.Msg, network string) (*dns.Msg, bool) {
	zone, question := s.config.Zone, q.Question[0]
	rrs, exists, ours := zone.Lookup(question.Name, question.Qtype)
	if !ours {
		return s.upstreams.ask(ctx, q, network), false
	}
	reply.Authoritative, reply.RecursionAvailable = true, len(s.config.Upstreams) > 0
	if zone.version.Load() == 0 && len(rrs) == 0 { // not known yet is not denied
		reply.Rcode, reply.Authoritative = dns.RcodeServerFailure, false
		return reply, false
	}
	reply.Answer = named(question.Name, rrs)
	if !exists {
		reply.Rcode = dns.RcodeNameError
	}
	complete := s.chase(ctx, q, reply, network)
	if complete && len(reply.Answer) == 0 {
		reply.Ns = []dns.RR{zone.soa()}
	}
	s.targets(reply)
	return reply, complete
}

// named gives records the name in the client's spelling.
func named(name string, rrs []dns.RR) []dns.RR {
	out := make([]dns.RR, len(rrs))
	for i, rr := range rrs {
		out[i] = dns.Copy(rr)
		out[i].Header().Name = name
	}
	return out
}

// chase follows ExternalNames' CNAMEs, so that clients need not ask again, and
// tells whether that has stayed within the zone. The code is that of the last
// name (RFC 6604).
func (s *Server) chase(ctx context.Context, q, reply *dns.Msg, network string) (complete bool) {
	kind := q.Question[0].Qtype
	if kind == dns.TypeCNAME || kind == dns.TypeANY {
		return true
	}
	for range longestChain {
		if len(reply.Answer) == 0 {
			return true
		}
		alias, ok := reply.Answer[len(reply.Answer)-1].(*dns.CNAME)
		if !ok {
			return true
		}
		rrs, exists, ours := s.config.Zone.Lookup(alias.Target, kind)
		if !ours {
			ask := q.Copy()
			ask.Question[0].Name = alias.Target
			further := s.upstreams.ask(ctx, ask, network)
			reply.Answer, reply.Ns, reply.Rcode = append(reply.Answer, further.Answer...), further.Ns, further.Rcode
			if reply.Rcode == dns.RcodeRefused {
				reply.Rcode = dns.RcodeSuccess // the client may know whom to ask
			}
			return false
		}
		if len(rrs) == 0 {
			reply.Ns = []dns.RR{s.config.Zone.soa()}
			if !exists {
				reply.Rcode = dns.RcodeNameError
			}
			return true
		}
		reply.Answer = append(reply.Answer, named(alias.Target, rrs)...)
	}
	reply.Rcode = dns.RcodeServerFailure // names that lead in a circle
	return true
}

// targets adds the addresses of what SRV records name.
func (s *Server) targets(reply *dns.Msg) {
	for _, rr := range reply.Answer {
		srv, ok := rr.(*dns.SRV)
		if !ok {
			continue
		}
		for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
			if rrs, _, ours := s.config.Zone.Lookup(srv.Target, kind); ours {
				reply.Extra = append(reply.Extra, rrs...)
			}
		}
	}
}
