package iptables

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/headway-sh/headway/proxy/rules"
)

// Config says what a Table is for.
type Config struct {
	Kernel Kernel
	// Cluster holds the pods' addresses of all nodes. Traffic to cluster IPs from
	// elsewhere is masqueraded, so that answers come back through this node;
	// unset: none is.
	Cluster netip.Prefix
	// IPv6 says which family the Kernel is of.
	IPv6 bool
	// Localhost makes IPv4 node ports answer on 127.0.0.1 too.
	Localhost bool
}

// Table keeps a kernel's rules in step with what is set.
type Table struct {
	kernel Kernel
	chains *chains
	// known says that the kernel's rules are those of the last Sync.
	known, linked bool
}

var _ rules.Backend = (*Table)(nil)

// NewTable returns a Table that begins with what is in the kernel: leftovers
// of an earlier life are repaired by the first Sync.
func NewTable(config Config) *Table {
	return &Table{kernel: config.Kernel, chains: newChains(config)}
}

// Set notes the newest state of a Service.
func (t *Table) Set(u rules.Update) { t.chains.set(u) }

// Sync writes the chains that became different since the last one. After an
// error the next Sync reads the kernel again and writes all of ours.
func (t *Table) Sync(ctx context.Context) error {
	if !t.known {
		found, err := t.kernel.Chains(ctx)
		if err != nil {
			return fmt.Errorf("read service rules: %w", err)
		}
		for table, names := range found {
			for _, name := range names {
				t.chains.dirty[chain{table, name}] = true
			}
		}
		for _, wanted := range t.chains.all() {
			t.chains.dirty[wanted] = true
		}
	}
	if input := t.input(); input != "" {
		t.known = false
		if err := t.kernel.Restore(ctx, input); err != nil {
			return fmt.Errorf("write service rules: %w", err)
		}
	}
	t.known = true
	clear(t.chains.dirty)
	if t.linked {
		return nil
	}
	if err := t.kernel.Link(ctx); err != nil {
		return fmt.Errorf("link service rules: %w", err)
	}
	if t.chains.localhost { // strangers' loopback addresses are kept out by now
		if err := t.kernel.RouteLocalnet(ctx, true); err != nil {
			return err
		}
	}
	t.linked = true
	return nil
}

// input is for iptables-restore --noflush: the dirty chains whole, nothing
// else. Chains that are gone are emptied and deleted in the same commit.
func (t *Table) input() string {
	byTable := map[string][]string{}
	for at := range t.chains.dirty {
		byTable[at.table] = append(byTable[at.table], at.name)
	}
	var out strings.Builder
	for _, table := range slices.Sorted(maps.Keys(byTable)) {
		names := byTable[table]
		slices.Sort(names)
		out.WriteString("*" + table + "\n")
		// Declaring a chain makes it when it is not there and empties it otherwise.
		for _, name := range names {
			out.WriteString(":" + name + " - [0:0]\n")
		}
		var gone []string
		for _, name := range names {
			lines, wanted := t.chains.rules(chain{table, name})
			if !wanted {
				gone = append(gone, name)
			}
			for _, line := range lines {
				out.WriteString("-A " + name + " " + line + "\n")
			}
		}
		for _, name := range gone {
			out.WriteString("-X " + name + "\n")
		}
		out.WriteString("COMMIT\n")
	}
	return out.String()
}
