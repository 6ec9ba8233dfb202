package backendtest

import (
	"fmt"
	"net/netip"

	"github.com/headway-sh/headway/proxy/model"
	"github.com/headway-sh/headway/proxy/rules"
)

// PodNet holds the pods' addresses.
var PodNet = podNet

// Many are n Services of two endpoints each, on neighbouring addresses.
func Many(n int) []rules.Update {
	out := make([]rules.Update, n)
	for i := range out {
		out[i] = Plain(i, "10.244.0.9:8080", "10.244.1.10:8080")
	}
	return out
}

// Plain is the i-th of Many with other endpoints.
func Plain(i int, to ...string) rules.Update {
	p := model.ServicePort{Namespace: "many", Service: fmt.Sprint("service-", i), Port: "http", Protocol: "tcp",
		ClusterIP: netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}), Number: 80, Cluster: ends(to...)}
	return rules.UpdateOf(p.Namespace+"/"+p.Service, []model.ServicePort{p}, nil)
}

// EveryForm are Services for every form of rule.
func EveryForm() []rules.Update {
	kept := func(p *model.ServicePort) {
		p.Service, p.NodePort, p.ExternalLocal, p.Protocol = "kept", 30018, true, "udp"
		p.Balancer, p.Ranges = []netip.Addr{netip.MustParseAddr("203.0.113.10")}, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	}
	var out []rules.Update
	for i, edit := range []func(*model.ServicePort){
		func(p *model.ServicePort) { p.External = []netip.Addr{world} },
		func(p *model.ServicePort) { p.Service, p.NodePort, p.AffinitySeconds = "sticky", 30017, 60 },
		kept,
		func(p *model.ServicePort) { p.Service, p.NodePort, p.Cluster, p.Local = "empty", 30019, nil, nil },
		func(p *model.ServicePort) {
			p.Service, p.NodePort = "large", 30020
			p.Cluster = ends("10.244.0.5:80", "10.244.1.5:80", "10.244.1.6:80", "10.244.1.7:80", "10.244.1.8:80", "10.244.1.9:80")
		},
		func(p *model.ServicePort) {
			p.Service, p.NodePort, p.Cluster, p.Local = "away", 30021, ends("10.244.1.5:80"), nil
			p.InternalLocal = true
		},
	} {
		p := web(edit)
		p.ClusterIP = netip.AddrFrom4([4]byte{10, 96, 9, byte(20 + i)})
		out = append(out, rules.UpdateOf("shop/"+p.Service, []model.ServicePort{p}, nil))
	}
	return out
}

// Six are the updates in IPv6: each address within fd00::/96.
func Six(updates []rules.Update) []rules.Update {
	six := func(ip netip.Addr) netip.Addr {
		if !ip.IsValid() {
			return ip
		}
		raw, four := [16]byte{0: 0xfd}, ip.As4()
		copy(raw[12:], four[:])
		return netip.AddrFrom16(raw)
	}
	action := func(a rules.Action) rules.Action {
		to := make([]netip.AddrPort, len(a.To))
		for i, end := range a.To {
			to[i] = netip.AddrPortFrom(six(end.Addr()), end.Port())
		}
		a.To = to
		return a
	}
	out := make([]rules.Update, len(updates))
	for i, u := range updates {
		out[i] = rules.Update{Key: u.Key}
		for _, ip := range u.Local {
			out[i].Local = append(out[i].Local, six(ip))
		}
		for _, r := range u.Rows {
			r.IP, r.Pods, r.Host, r.World = six(r.IP), action(r.Pods), action(r.Host), action(r.World)
			ranges := make([]netip.Prefix, len(r.Ranges))
			for j, p := range r.Ranges {
				ranges[j] = netip.PrefixFrom(six(p.Addr()), 96+p.Bits())
			}
			r.Ranges = ranges
			out[i].Rows = append(out[i].Rows, r)
		}
	}
	return out
}
