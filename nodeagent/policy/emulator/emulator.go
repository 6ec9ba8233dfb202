package emulator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/headway-sh/headway/nodeagent/policy"
)

// Kernel is the emulated kernel of one address family. It is not safe for
// concurrent use.
type Kernel struct {
	sets   map[string]policy.Set
	chains map[string][]rule
	// Fail is asked before each change, by its name; its error is the change's.
	Fail func(operation string) error
	// Changes counts the changes by their names.
	Changes map[string]int
}

var _ policy.Kernel = (*Kernel)(nil)

// New is one without sets and chains.
func New() *Kernel {
	return &Kernel{sets: map[string]policy.Set{}, chains: map[string][]rule{}, Changes: map[string]int{}}
}

func (k *Kernel) begin(operation string) error {
	k.Changes[operation]++
	if k.Fail != nil {
		return k.Fail(operation)
	}
	return nil
}

// Sets implements policy.Kernel.
func (k *Kernel) Sets(_ context.Context, prefix string) (map[string]policy.Set, error) {
	found := map[string]policy.Set{}
	for name, s := range k.sets {
		if strings.HasPrefix(name, prefix) {
			found[name] = policy.Set{Kind: s.Kind, Elements: maps.Clone(s.Elements)}
		}
	}
	return found, nil
}

// Chains implements policy.Kernel.
func (k *Kernel) Chains(_ context.Context, prefix string) ([]string, error) {
	var found []string
	for name := range k.chains {
		if strings.HasPrefix(name, prefix) {
			found = append(found, name)
		}
	}
	return found, nil
}

// Create implements policy.Kernel.
func (k *Kernel) Create(_ context.Context, set string, kind policy.Kind) error {
	if err := k.begin("create"); err != nil {
		return err
	}
	if s, ok := k.sets[set]; ok && s.Kind != kind || len(set) > 31 {
		return fmt.Errorf("create set %q: it exists otherwise, or its name is too long", set)
	}
	k.sets[set] = policy.Set{Kind: kind, Elements: map[string]bool{}}
	return nil
}

// Destroy implements policy.Kernel.
func (k *Kernel) Destroy(_ context.Context, set string) error {
	if err := k.begin("destroy"); err != nil {
		return err
	}
	for chain, rules := range k.chains {
		for _, r := range rules {
			if slices.ContainsFunc(r.sets, func(m match) bool { return m.set == set }) {
				return fmt.Errorf("set %q is in use in chain %q", set, chain)
			}
		}
	}
	delete(k.sets, set)
	return nil
}

// Add implements policy.Kernel.
func (k *Kernel) Add(_ context.Context, set string, kind policy.Kind, element string) error {
	if err := k.begin("add"); err != nil {
		return err
	}
	s, ok := k.sets[set]
	if !ok || s.Kind != kind {
		return fmt.Errorf("there is no such set %q", set)
	}
	s.Elements[element] = true
	return nil
}

// Remove implements policy.Kernel.
func (k *Kernel) Remove(_ context.Context, set string, _ policy.Kind, element string) error {
	if err := k.begin("remove"); err != nil {
		return err
	}
	delete(k.sets[set].Elements, element)
	return nil
}

// Restore implements policy.Kernel.
func (k *Kernel) Restore(_ context.Context, input string) error {
	if err := k.begin("restore"); err != nil {
		return err
	}
	next := maps.Clone(k.chains)
	for line := range strings.Lines(input) {
		line = strings.TrimSpace(line)
		verb, rest, _ := strings.Cut(line, " ")
		switch {
		case line == "*filter" || line == "COMMIT":
		case strings.HasPrefix(verb, ":"):
			if len(verb) > 29 {
				return fmt.Errorf("the name %s is too long", verb)
			}
			next[verb[1:]] = nil
		case verb == "-A":
			chain, text, _ := strings.Cut(rest, " ")
			r, err := parse(text)
			if err != nil {
				return err
			}
			next[chain] = append(slices.Clone(next[chain]), r)
		case verb == "-X":
			if len(next[rest]) > 0 {
				return fmt.Errorf("chain %q is not empty", rest)
			}
			delete(next, rest)
		default:
			return fmt.Errorf("unknown line %q", line)
		}
	}
	if err := k.check(next); err != nil {
		return err
	}
	k.chains = next
	return nil
}

// check refuses chains that lead nowhere.
func (k *Kernel) check(chains map[string][]rule) error {
	for _, rules := range chains {
		for _, r := range rules {
			if _, ok := chains[r.target]; !ok && !builtin[r.target] {
				return fmt.Errorf("there is no chain %q", r.target)
			}
			for _, m := range r.sets {
				if _, ok := k.sets[m.set]; !ok {
					return fmt.Errorf("there is no set %q", m.set)
				}
			}
		}
	}
	return nil
}

var builtin = map[string]bool{"ACCEPT": true, "DROP": true, "RETURN": true, "MARK": true}

// Packet is one that is forwarded.
type Packet struct {
	Src, Dst    netip.Addr
	Protocol    string
	Port        uint16
	Established bool
}

// errLoop ends a packet that goes round.
var errLoop = errors.New("a packet goes round in the chains")

// Allows tells whether a packet gets through a chain.
func (k *Kernel) Allows(chain string, p Packet) (bool, error) {
	marked := false
	end, err := k.walk(chain, p, &marked, 0)
	return end != "DROP", err
}

func (k *Kernel) walk(chain string, p Packet, marked *bool, depth int) (end string, err error) {
	if depth > 8 {
		return "", errLoop
	}
	for _, r := range k.chains[chain] {
		if !r.matches(k, p, *marked) {
			continue
		}
		switch r.target {
		case "ACCEPT", "DROP":
			return r.target, nil
		case "RETURN":
			return "", nil
		case "MARK":
			*marked = r.setsMark
		default:
			if end, err := k.walk(r.target, p, marked, depth+1); end != "" || err != nil {
				return end, err
			}
		}
	}
	return "", nil
}
