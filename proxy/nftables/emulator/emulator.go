// Package emulator answers what happens to a packet in the tables that
// nftables.Table writes. knftables' fake applies transactions and rejects what
// the kernel would reject; this package walks its chains.
package emulator

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/knftables"

	"github.com/headway-sh/headway/proxy/backendtest"
	"github.com/headway-sh/headway/proxy/nftables"
)

// Kernel holds the rules of one machine, for IPv4.
type Kernel struct {
	*knftables.Fake
	// Local are the machine's own addresses.
	Local []netip.Addr
	// FailRun is returned by the next Run, once.
	FailRun error
	// clients are what packets have put into sets.
	clients map[string]map[netip.Addr]bool
	// elements is what maps and sets hold, words what rules are made of: both are
	// only a faster way to read Table.
	elements map[string]map[string]string
	words    map[string][]string
}

var _ knftables.Interface = (*Kernel)(nil)

// New returns a kernel without rules.
func New(local ...netip.Addr) *Kernel {
	return &Kernel{Fake: knftables.NewFake(knftables.IPv4Family, nftables.TableName), Local: local, clients: map[string]map[netip.Addr]bool{}, words: map[string][]string{}}
}

// Run applies a transaction, all of it or nothing.
func (k *Kernel) Run(ctx context.Context, tx *knftables.Transaction) error {
	if err := k.FailRun; err != nil {
		k.FailRun = nil
		return err
	}
	if err := k.Fake.Run(ctx, tx); err != nil {
		return err
	}
	for set := range k.clients {
		if k.Table.Sets[set] == nil {
			delete(k.clients, set)
		}
	}
	k.index()
	return nil
}

func (k *Kernel) index() {
	k.elements = map[string]map[string]string{}
	fill := func(name string, elements []*knftables.Element) {
		k.elements[name] = map[string]string{}
		for _, e := range elements {
			k.elements[name][strings.Join(e.Key, " . ")] = strings.Join(e.Value, " . ")
		}
	}
	for name, m := range k.Table.Maps {
		fill(name, m.Elements)
	}
	for name, s := range k.Table.Sets {
		fill(name, s.Elements)
	}
	for _, c := range k.Table.Chains {
		for _, r := range c.Rules {
			k.words[r.Rule] = strings.Fields(r.Rule)
		}
	}
}

// Send runs a packet through the chains on hooks. choose is asked for every
// choice of one in n and tells whether this one is taken.
func (k *Kernel) Send(p backendtest.Packet, choose func(n int) bool) backendtest.Fate {
	w := &walk{kernel: k, packet: p, fate: backendtest.Fate{To: p.Dst}, choose: choose}
	first := "output"
	if p.Wire {
		first = "prerouting"
	}
	for _, chain := range []string{"martians", first, "filter-forward", "postrouting"} {
		if k.Table != nil && k.Table.Chains[chain] != nil && !w.fate.Rejected && !w.fate.Dropped {
			w.chain(chain)
		}
	}
	return w.fate
}

type walk struct {
	kernel             *Kernel
	packet             backendtest.Packet
	fate               backendtest.Fate
	choose             func(int) bool
	translated, marked bool
}

// outcome is how a rule or chain ends.
type outcome int

const (
	goOn    outcome = iota // with the next rule
	back                   // to the calling chain
	decided                // nothing further in this hook
)

func (w *walk) chain(name string) outcome {
	c := w.kernel.Table.Chains[name]
	if c == nil {
		panic(fmt.Sprintf("no chain %q", name))
	}
	for _, r := range c.Rules {
		out, err := w.rule(r.Rule)
		if err != nil {
			panic(fmt.Sprintf("chain %s, rule %q: %v", name, r.Rule, err))
		}
		if out != goOn {
			return out
		}
	}
	return goOn
}

// rule evaluates one rule, statement by statement.
func (w *walk) rule(text string) (outcome, error) {
	s := &scanner{words: w.kernel.words[text]}
	for !s.end() {
		matched, out, err := w.statement(s)
		if err != nil || !matched || out != goOn {
			return out, err
		}
	}
	return goOn, nil
}

// verdict carries one out.
func (w *walk) verdict(words []string) (outcome, error) {
	switch words[0] {
	case "jump":
		if w.chain(words[1]) == decided {
			return decided, nil
		}
		return goOn, nil
	case "goto":
		if w.chain(words[1]) == decided {
			return decided, nil
		}
		return back, nil
	case "return":
		return back, nil
	case "drop":
		w.fate.Dropped = true
	case "reject":
		w.fate.Rejected = true
	default:
		return goOn, fmt.Errorf("no verdict %q", words)
	}
	return decided, nil
}

func (w *walk) local(ip netip.Addr) bool {
	return ip.IsLoopback() || slices.Contains(w.kernel.Local, ip)
}

// draw is "numgen random mod n".
func (w *walk) draw(n int) int {
	for i := range n - 1 {
		if w.choose(n - i) {
			return i
		}
	}
	return n - 1
}

func (w *walk) inSet(name, key string) (bool, error) {
	set := w.kernel.Table.Sets[name]
	if set == nil {
		return false, fmt.Errorf("no set %q", name)
	}
	if len(set.Flags) > 0 {
		return w.kernel.clients[name][w.packet.Src], nil
	}
	_, found := w.kernel.elements[name][key]
	return found, nil
}

func (w *walk) inMap(name, key string) (string, bool, error) {
	if w.kernel.Table.Maps[name] == nil {
		return "", false, fmt.Errorf("no map %q", name)
	}
	value, found := w.kernel.elements[name][key]
	return value, found, nil
}

func (w *walk) remember(set string) error {
	if s := w.kernel.Table.Sets[set]; s == nil || s.Timeout == nil || s.Size == nil {
		return errors.New("packets may not put anything into set " + set)
	}
	if w.kernel.clients[set] == nil {
		w.kernel.clients[set] = map[netip.Addr]bool{}
	}
	w.kernel.clients[set][w.packet.Src] = true
	return nil
}
