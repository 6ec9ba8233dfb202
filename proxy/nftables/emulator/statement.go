package emulator

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// scanner reads a rule word by word.
type scanner struct {
	words []string
	at    int
}

func (s *scanner) end() bool { return s.at >= len(s.words) }

func (s *scanner) next() string {
	if s.end() {
		return ""
	}
	s.at++
	return s.words[s.at-1]
}

// take consumes the words if they come next.
func (s *scanner) take(text string) bool {
	at := s.at
	for text != "" {
		word, rest, _ := strings.Cut(text, " ")
		if at >= len(s.words) || s.words[at] != word {
			return false
		}
		at, text = at+1, rest
	}
	s.at = at
	return true
}

// braces reads "{ a, b }" into its members.
func (s *scanner) braces() ([]string, error) {
	if !s.take("{") {
		return nil, fmt.Errorf("no brace before %q", s.next())
	}
	from := s.at
	for !s.end() {
		if s.next() == "}" {
			members := strings.Split(strings.Join(s.words[from:s.at-1], " "), ",")
			for i := range members {
				members[i] = strings.TrimSpace(members[i])
			}
			return members, nil
		}
	}
	return nil, fmt.Errorf("a brace is not closed")
}

// statement evaluates the next one: whether it matched, and how it ended.
func (w *walk) statement(s *scanner) (matched bool, out outcome, err error) {
	to := w.fate.To
	switch {
	case s.take("ip daddr . meta l4proto . th dport"):
		return w.lookup(s, w.front())
	case s.take("meta l4proto . th dport"):
		return w.lookup(s, w.port())
	case s.take("ip saddr . ip daddr"):
		return w.lookup(s, fmt.Sprintf("%s . %s", w.packet.Src, to.Addr()))
	case s.take("ip saddr"):
		return w.address(s, w.packet.Src)
	case s.take("ip daddr"):
		return w.address(s, to.Addr())
	case s.take("ct original ip daddr"):
		return w.address(s, w.packet.Dst.Addr())
	case s.take("fib saddr type local"):
		return w.local(w.packet.Src), goOn, nil
	case s.take("fib daddr type local"):
		return w.local(to.Addr()), goOn, nil
	case s.take(`iifname != "lo"`):
		return w.packet.Wire, goOn, nil
	case s.take("ct state new"):
		return true, goOn, nil
	case s.take("ct status dnat"):
		return w.translated, goOn, nil
	case s.take("meta mark set mark or 0x200000"):
		w.marked = true
		return true, goOn, nil
	case s.take("meta mark & 0x200000 == 0x200000"):
		return w.marked, goOn, nil
	case s.take("meta l4proto {"):
		s.at--
		members, err := s.braces()
		return slices.Contains(members, w.packet.Protocol), goOn, err
	case s.take("meta l4proto"):
		return s.next() == w.packet.Protocol, goOn, nil
	case s.take("numgen random mod"):
		value, err := w.drawn(s, "vmap")
		if err != nil {
			return false, goOn, err
		}
		out, err = w.verdict(strings.Fields(value))
		return true, out, err
	case s.take("dnat"):
		return w.dnat(s)
	case s.take("masquerade fully-random"):
		w.fate.Masqueraded = true
		return true, decided, nil
	case s.take("update"):
		set := strings.TrimPrefix(s.next(), "@")
		if members, err := s.braces(); err != nil || !slices.Equal(members, []string{"ip saddr"}) {
			return false, goOn, fmt.Errorf("what is put into the set: %q: %w", members, err)
		}
		return true, goOn, w.remember(set)
	}
	out, err = w.verdict(s.words[s.at:])
	s.at = len(s.words)
	return true, out, err
}

// front and port are what the packet is looked up by now.
func (w *walk) front() string { return w.fate.To.Addr().String() + " . " + w.port() }
func (w *walk) port() string {
	return w.packet.Protocol + " . " + strconv.Itoa(int(w.fate.To.Port()))
}

// lookup is a set or a verdict map.
func (w *walk) lookup(s *scanner, key string) (bool, outcome, error) {
	if !s.take("vmap") {
		found, err := w.inSet(strings.TrimPrefix(s.next(), "@"), key)
		return found, goOn, err
	}
	value, found, err := w.inMap(strings.TrimPrefix(s.next(), "@"), key)
	if err != nil || !found {
		return false, goOn, err
	}
	out, err := w.verdict(strings.Fields(value))
	return true, out, err
}

// address compares with a prefix, a list of them, or a set.
func (w *walk) address(s *scanner, ip netip.Addr) (bool, outcome, error) {
	not := s.take("!=")
	var members []string
	if s.take("{") {
		s.at--
		var err error
		if members, err = s.braces(); err != nil {
			return false, goOn, err
		}
	} else if word := s.next(); strings.HasPrefix(word, "@") {
		found, err := w.inSet(word[1:], ip.String())
		return found != not, goOn, err
	} else {
		members = []string{word}
	}
	for _, m := range members {
		prefix, err := netip.ParsePrefix(m)
		if err != nil {
			return false, goOn, err
		}
		if prefix.Contains(ip) {
			return !not, goOn, nil
		}
	}
	return not, goOn, nil
}

// drawn reads "N vmap { 0 : x , 1 : y }" and gives the member that is drawn.
func (w *walk) drawn(s *scanner, word string) (string, error) {
	n, err := strconv.Atoi(s.next())
	if err != nil {
		return "", err
	}
	if !s.take(word) {
		return "", fmt.Errorf("no %s", word)
	}
	members, err := s.braces()
	if err != nil {
		return "", err
	}
	if len(members) != n {
		return "", fmt.Errorf("%d members for numbers below %d", len(members), n)
	}
	i := 0
	if !w.alike(members) {
		i = w.draw(n)
	}
	value, ok := strings.CutPrefix(members[i], fmt.Sprintf("%d : ", i))
	if !ok {
		return "", fmt.Errorf("member %d is %q", i, members[i])
	}
	return value, nil
}

// alike tells whether it is all the same which member is drawn, because none of
// the chains has anything for the packet. Without this every packet would have
// hundreds of outcomes, all equal.
func (w *walk) alike(members []string) bool {
	for _, m := range members {
		_, chain, jump := strings.Cut(m, " : jump ")
		if !jump {
			return false
		}
		dry := *w
		if dry.chain(chain) != goOn || dry.fate != w.fate || dry.marked != w.marked {
			return false
		}
	}
	return true
}

func (w *walk) dnat(s *scanner) (bool, outcome, error) {
	s.take("ip")
	if !s.take("to") {
		return false, goOn, fmt.Errorf("dnat to what")
	}
	value, found := "", true
	var err error
	switch {
	case s.take("ip daddr . meta l4proto . th dport map"):
		value, found, err = w.inMap(strings.TrimPrefix(s.next(), "@"), w.front())
	case s.take("meta l4proto . th dport map"):
		value, found, err = w.inMap(strings.TrimPrefix(s.next(), "@"), w.port())
	case s.take("numgen random mod"):
		value, err = w.drawn(s, "map")
	default:
		value = s.next()
	}
	if err != nil || !found {
		return false, goOn, err
	}
	to, err := netip.ParseAddrPort(strings.ReplaceAll(value, " . ", ":"))
	if err != nil {
		return false, goOn, err
	}
	w.fate.To, w.translated = to, true
	return true, decided, nil
}
