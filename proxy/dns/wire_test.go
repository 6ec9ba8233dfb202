package dns

import (
	"testing"

	"github.com/miekg/dns"
)

// What the short parser accepts the library understands in the same way.
func FuzzParse(f *testing.F) {
	plain := new(dns.Msg).SetQuestion("Web.shop.svc.cluster.local.", dns.TypeA)
	extended := plain.Copy().SetEdns0(4096, true)
	for _, m := range []*dns.Msg{plain, extended, new(dns.Msg).SetReply(plain), new(dns.Msg).SetNotify("a."), new(dns.Msg).SetQuestion(".", dns.TypeNS)} {
		packed, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		q, ok := parse(packet, nil)
		if !ok {
			return
		}
		m := new(dns.Msg)
		if err := m.Unpack(packet); err != nil {
			return // options of EDNS are not looked at
		}
		name := make([]byte, 256)
		end, err := dns.PackDomainName(m.Question[0].Name, name, 0, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		lower := name[:end]
		for i, c := range lower {
			if 'A' <= c && c <= 'Z' {
				lower[i] = c + 'a' - 'A'
			}
		}
		if got := string(q.key[:len(q.key)-3]); got != string(lower) {
			t.Errorf("name %q, the library has %q", got, lower)
		}
		if m.Response || m.Opcode != dns.OpcodeQuery || len(m.Question) != 1 || m.Question[0].Qclass != dns.ClassINET {
			t.Errorf("accepted:\n%v", m)
		}
	})
}
