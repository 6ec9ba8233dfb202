package dns

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"
	"k8s.io/utils/clock"
)

const (
	// upstreamTimeout bounds one try of one upstream.
	upstreamTimeout = 2 * time.Second
	// Answers of upstreams are kept for their own time, within these bounds, and
	// denials for what their SOA says.
	longestPositive, longestNegative = time.Hour, 5 * time.Minute
	// failureTTL is how long a failure of all upstreams is believed.
	failureTTL = time.Second
	// staleFor is how long an answer that has run out serves while no upstream
	// answers (RFC 8767), and staleTTL what is said of it.
	staleFor, staleTTL = time.Hour, 5
	// keptAnswers bounds the cache.
	keptAnswers = 10000
)

// upstreams asks other resolvers, and remembers.
type upstreams struct {
	servers []string
	clock   clock.PassiveClock
	log     *slog.Logger
	first   atomic.Int32 // whom to ask first: who answered last
	flight  singleflight.Group
	mu      sync.Mutex // guards kept
	kept    map[question]kept
}

type question struct {
	name        string // in lower case
	kind, class uint16
	secured     bool // DO: with signatures
	unchecked   bool // CD
	network     string
}

type kept struct {
	answer *dns.Msg
	at     time.Time
	ttl    time.Duration
}

// ask answers a question that is not the zone's. The answer is the caller's.
// ctx is the server's: it lasts for all who ask.
func (u *upstreams) ask(ctx context.Context, q *dns.Msg, network string) *dns.Msg {
	key := question{name: dns.CanonicalName(q.Question[0].Name), kind: q.Question[0].Qtype, class: q.Question[0].Qclass, unchecked: q.CheckingDisabled, network: network}
	if opt := q.IsEdns0(); opt != nil {
		key.secured = opt.Do()
	}
	if len(u.servers) == 0 {
		return new(dns.Msg).SetRcode(q, dns.RcodeRefused)
	}
	old, ok := u.lookup(key)
	if ok && u.clock.Since(old.at) < old.ttl {
		return u.reply(q, old, uint32(u.clock.Since(old.at)/time.Second))
	}
	// Those who ask the same at once share one question.
	got, err, _ := u.flight.Do(fmt.Sprint(key), func() (any, error) { return u.exchange(ctx, key) })
	switch {
	case err == nil:
		return u.reply(q, u.keep(key, got.(*dns.Msg)), 0)
	case ok && u.clock.Since(old.at) < old.ttl+staleFor && old.answer.Rcode != dns.RcodeServerFailure:
		reply := u.reply(q, old, 0)
		eachTTL(reply, func(uint32) uint32 { return staleTTL })
		return reply
	}
	u.log.Debug("no DNS upstream answered", "name", key.name, "error", err)
	failed := new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
	failed.RecursionAvailable = true
	if !ok || old.answer.Rcode == dns.RcodeServerFailure {
		u.store(key, kept{failed, u.clock.Now(), failureTTL})
	}
	return failed.Copy()
}

// exchange asks the upstreams in turn, beginning with who answered last.
func (u *upstreams) exchange(ctx context.Context, key question) (*dns.Msg, error) {
	q := new(dns.Msg).SetQuestion(key.name, key.kind)
	q.Question[0].Qclass, q.CheckingDisabled = key.class, key.unchecked
	q.SetEdns0(largestPacket, key.secured)
	client := dns.Client{Net: key.network, Timeout: upstreamTimeout, UDPSize: largestPacket}
	var last error
	for i := range u.servers {
		n := (int(u.first.Load()) + i) % len(u.servers)
		answer, _, err := client.ExchangeContext(ctx, q, u.servers[n])
		if err == nil && answer.Rcode == dns.RcodeFormatError { // it does not speak EDNS
			old := q.Copy()
			old.Extra = nil
			answer, _, err = client.ExchangeContext(ctx, old, u.servers[n])
		}
		switch {
		case err != nil:
			last = err
		case answer.Rcode == dns.RcodeServerFailure || answer.Rcode == dns.RcodeRefused:
			last = fmt.Errorf("%s answers %s", u.servers[n], dns.RcodeToString[answer.Rcode])
		default:
			u.first.Store(int32(n))
			return answer, nil
		}
	}
	return nil, last
}

func (u *upstreams) lookup(key question) (kept, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	k, ok := u.kept[key]
	return k, ok
}

func (u *upstreams) keep(key question, answer *dns.Msg) kept {
	k := kept{answer, u.clock.Now(), lifetime(answer)}
	if !answer.Truncated {
		u.store(key, k)
	}
	return k
}

// store makes room by forgetting any others: what is asked often comes again.
func (u *upstreams) store(key question, k kept) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.kept == nil {
		u.kept = map[question]kept{}
	}
	for other := range u.kept {
		if len(u.kept) < keptAnswers {
			break
		}
		delete(u.kept, other)
	}
	u.kept[key] = k
}

// lifetime is how long an answer may be believed.
func lifetime(m *dns.Msg) time.Duration {
	lowest, longest := uint32(longestPositive/time.Second), longestPositive
	if len(m.Answer) == 0 || m.Rcode == dns.RcodeNameError {
		longest = longestNegative
		found := false
		for _, rr := range m.Ns {
			if soa, ok := rr.(*dns.SOA); ok { // RFC 2308, 5
				lowest, found = min(soa.Hdr.Ttl, soa.Minttl), true
			}
		}
		if !found {
			return 0
		}
	}
	for _, rr := range m.Answer {
		lowest = min(lowest, rr.Header().Ttl)
	}
	return min(time.Duration(lowest)*time.Second, longest)
}

// reply is a kept answer for one who asks now.
func (u *upstreams) reply(q *dns.Msg, k kept, age uint32) *dns.Msg {
	reply := k.answer.Copy()
	reply.Id, reply.Question, reply.RecursionDesired = q.Id, q.Question, q.RecursionDesired
	reply.Response, reply.RecursionAvailable, reply.Authoritative = true, true, false
	for i, rr := range reply.Extra { // that one was between the upstream and us
		if rr.Header().Rrtype == dns.TypeOPT {
			reply.Extra = append(reply.Extra[:i], reply.Extra[i+1:]...)
			break
		}
	}
	eachTTL(reply, func(ttl uint32) uint32 { return ttl - min(ttl, age) })
	return reply
}

func eachTTL(m *dns.Msg, f func(uint32) uint32) {
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			if rr.Header().Rrtype != dns.TypeOPT {
				rr.Header().Ttl = f(rr.Header().Ttl)
			}
		}
	}
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
