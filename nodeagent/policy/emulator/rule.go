package emulator

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/headway-sh/headway/nodeagent/policy"
)

// rule is one rule, as far as package policy makes any.
type rule struct {
	sets        []match
	src, dst    netip.Addr
	protocol    string
	first, last uint16
	established bool
	unmarked    bool
	target      string
	setsMark    bool
}

// match asks whether a set has what the sides of the packet give.
type match struct{ set, sides string }

func parse(text string) (rule, error) {
	r := rule{}
	words := strings.Fields(text)
	for i := 0; i < len(words); i++ {
		argument := func(n int) string { return strings.Join(words[i+1:min(i+1+n, len(words))], " ") }
		used := 1
		switch words[i] {
		case "-m": // what follows says it all
		case "--match-set":
			set, sides, _ := strings.Cut(argument(2), " ")
			r.sets, used = append(r.sets, match{set, sides}), 2
		case "-s":
			r.src = netip.MustParseAddr(argument(1))
		case "-d":
			r.dst = netip.MustParseAddr(argument(1))
		case "-p":
			r.protocol = argument(1)
		case "--dports":
			first, last, ok := strings.Cut(argument(1), ":")
			if !ok {
				last = first
			}
			a, err1 := strconv.ParseUint(first, 10, 16)
			b, err2 := strconv.ParseUint(last, 10, 16)
			if err1 != nil || err2 != nil || a > b {
				return r, fmt.Errorf("ports %q", argument(1))
			}
			r.first, r.last = uint16(a), uint16(b)
		case "--ctstate":
			r.established = true
		case "--comment":
		case "!":
			r.unmarked, used = true, 2
		case "--set-xmark":
			r.setsMark = !strings.HasPrefix(argument(1), "0x0/")
		case "-j":
			r.target = argument(1)
		default:
			return r, fmt.Errorf("unknown word %q in %q", words[i], text)
		}
		i += used
	}
	return r, nil
}

func (r rule) matches(k *Kernel, p Packet, marked bool) bool {
	switch {
	case r.src.IsValid() && r.src != p.Src, r.dst.IsValid() && r.dst != p.Dst:
		return false
	case r.protocol != "" && r.protocol != p.Protocol:
		return false
	case r.last != 0 && (p.Port < r.first || p.Port > r.last):
		return false
	case r.established && !p.Established, r.unmarked && marked:
		return false
	}
	for _, m := range r.sets {
		if !m.has(k.sets[m.set], p) {
			return false
		}
	}
	return true
}

func (m match) has(s policy.Set, p Packet) bool {
	side := p.Src
	if strings.HasPrefix(m.sides, "dst") {
		side = p.Dst
	}
	switch s.Kind {
	case policy.Ports:
		return s.Elements[fmt.Sprintf("%s,%s:%d", side, p.Protocol, p.Port)]
	case policy.Networks:
		for e := range s.Elements {
			if netip.MustParsePrefix(e).Contains(side) {
				return true
			}
		}
		return false
	}
	return s.Elements[side.String()]
}
