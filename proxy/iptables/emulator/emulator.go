// Package emulator is a kernel for tests: it applies the input of
// iptables-restore, rejects what the kernel would reject, and answers what
// happens to a packet.
package emulator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/headway-sh/headway/proxy/iptables"
)

// Kernel holds the rules of one machine.
type Kernel struct {
	// Local are the machine's own addresses.
	Local []netip.Addr
	// FailRestore is returned by the next Restore, once.
	FailRestore error

	tables map[string]map[string][]iptables.Rule
	linked map[string]bool // our chains that a built-in one jumps to
	recent map[string]map[netip.Addr]bool
}

var _ iptables.Kernel = (*Kernel)(nil)

// New returns a kernel with a foreign chain that nobody may touch.
func New(local ...netip.Addr) *Kernel {
	return &Kernel{Local: local, recent: map[string]map[netip.Addr]bool{}, linked: map[string]bool{},
		tables: map[string]map[string][]iptables.Rule{"nat": {"FOREIGN": {{Comment: "foreign"}}}, "filter": {}, "raw": {}}}
}

// Chains lists our chains.
func (k *Kernel) Chains(context.Context) (map[string][]string, error) {
	out := map[string][]string{}
	for table, chains := range k.tables {
		for name := range chains {
			if strings.HasPrefix(name, "HW-") {
				out[table] = append(out[table], name)
			}
		}
	}
	return out, nil
}

// Link makes the jumps to the chains that exist.
func (k *Kernel) Link(context.Context) error {
	for _, chains := range k.tables {
		for _, name := range []string{iptables.Services, iptables.Postrouting, iptables.Reject, iptables.Martians} {
			if _, ok := chains[name]; ok {
				k.linked[name] = true
			}
		}
	}
	return nil
}

// Unlink takes the jumps away.
func (k *Kernel) Unlink(context.Context) error { clear(k.linked); return nil }

// RouteLocalnet does nothing: packets are routed wherever they go.
func (k *Kernel) RouteLocalnet(context.Context, bool) error { return nil }

// Restore applies the input, all of it or nothing.
func (k *Kernel) Restore(_ context.Context, input string) error {
	if err := k.FailRestore; err != nil {
		k.FailRestore = nil
		return err
	}
	next := map[string]map[string][]iptables.Rule{}
	for table, chains := range k.tables {
		next[table] = maps.Clone(chains)
	}
	var table map[string][]iptables.Rule
	for n, line := range slices.Collect(strings.Lines(input)) {
		line = strings.TrimSpace(line)
		var err error
		switch {
		case strings.HasPrefix(line, "*"):
			if table = next[line[1:]]; table == nil {
				err = errors.New("no such table")
			}
		case line == "COMMIT":
			err = check(table)
		case strings.HasPrefix(line, ":"):
			name, _, _ := strings.Cut(line[1:], " ")
			if len(name) > 28 {
				err = errors.New("chain name is too long")
			}
			table[name] = nil
		case strings.HasPrefix(line, "-X "):
			name := line[3:]
			if rules, ok := table[name]; !ok || len(rules) > 0 {
				err = errors.New("chain is missing or not empty")
			}
			delete(table, name)
		case strings.HasPrefix(line, "-A "):
			name, text, _ := strings.Cut(line[3:], " ")
			var r iptables.Rule
			if r, err = parse(text); err == nil {
				table[name] = append(slices.Clip(table[name]), r)
			}
		default:
			err = errors.New("unknown line")
		}
		if err != nil {
			return fmt.Errorf("line %d: %q: %w", n+1, line, err)
		}
	}
	k.tables = next
	return nil
}

// Dump gives all rules as text, by table and chain, foreign ones included.
func (k *Kernel) Dump() map[string][]string {
	out := map[string][]string{}
	for table, chains := range k.tables {
		for name, rules := range chains {
			lines := []string{}
			for _, r := range rules {
				lines = append(lines, r.String())
			}
			out[table+" "+name] = lines
		}
	}
	return out
}

// check refuses jumps to chains that are not there.
func check(table map[string][]iptables.Rule) error {
	for name, rules := range table {
		for _, r := range rules {
			if _, ok := table[r.Target]; strings.HasPrefix(r.Target, "HW-") && !ok {
				return fmt.Errorf("chain %s jumps to %s, which does not exist", name, r.Target)
			}
		}
	}
	return nil
}

// parse reads a rule as Rule.String writes it.
func parse(text string) (iptables.Rule, error) {
	var r iptables.Rule
	if i := strings.Index(text, `--comment "`); i >= 0 {
		rest := text[i+len(`--comment "`):]
		end := strings.IndexByte(rest, '"')
		r.Comment = rest[:end]
		text = text[:i] + rest[end+1:]
	}
	words := strings.Fields(text)
	var errs []error
	for i := 0; i < len(words); i++ {
		next := func() string {
			i++
			if i >= len(words) {
				errs = append(errs, errors.New("argument missing"))
				return ""
			}
			return words[i]
		}
		number := func() int {
			n, err := strconv.Atoi(next())
			errs = append(errs, err)
			return n
		}
		switch words[i] {
		case "!":
			r.NotSrc = words[i+1] == "-s"
		case "-s":
			p, err := netip.ParsePrefix(next())
			errs = append(errs, err)
			r.Src = p
		case "-d":
			addr, mask, _ := strings.Cut(next(), "/")
			var err error
			r.Dst, err = netip.ParseAddr(addr)
			errs = append(errs, err)
			if strings.ContainsAny(mask, ".:") {
				r.Mask, err = netip.ParseAddr(mask)
				errs = append(errs, err)
			}
		case "-p":
			r.Protocol = next()
		case "-m":
			next()
		case "-i":
			r.Wire = next() == "lo"
		case "--dport":
			first, last, _ := strings.Cut(next(), ":")
			n, err := strconv.Atoi(first)
			errs = append(errs, err)
			r.Port = uint16(n)
			if last != "" {
				n, err := strconv.Atoi(last)
				errs = append(errs, err)
				r.PortEnd = uint16(n)
			}
		case "--dst-type":
			r.LocalDst = next() == "LOCAL"
		case "--src-type":
			r.LocalSrc = next() == "LOCAL"
		case "--ctstate":
			state := next()
			r.Translated, r.Known = state == "DNAT", state == "NEW"
		case "--ctorigdst":
			p, err := netip.ParsePrefix(next())
			errs = append(errs, err)
			r.Original = p
		case "--mark":
			r.Marked = next() != ""
		case "--mode":
			next()
		case "--probability":
			p, err := strconv.ParseFloat(next(), 64)
			errs = append(errs, err)
			r.OneIn = int(1/p + 0.5)
		case "--name":
			r.Recent = next()
		case "--seconds":
			r.RecentSeconds = number()
		case "--set":
			r.Remember = true
		case "--rcheck", "--reap", "--rsource", "--random-fully":
		case "-j":
			r.Target = next()
		case "--to-destination":
			to, err := netip.ParseAddrPort(next())
			errs = append(errs, err)
			r.To = to
		case "--set-xmark":
			next()
		default:
			errs = append(errs, fmt.Errorf("unknown word %q", words[i]))
		}
	}
	return r, errors.Join(errs...)
}
