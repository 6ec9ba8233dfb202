package nftables

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/knftables"

	"github.com/headway-sh/headway/proxy/rules"
)

// Config says what a Table is for.
type Config struct {
	// Open gives access to our table, once it is needed.
	Open func() (knftables.Interface, error)
	// IPv6 says which family the Kernel is of.
	IPv6 bool
	// Cluster holds the pods' addresses of all nodes. Traffic to cluster IPs from
	// elsewhere is masqueraded, so that answers come back through this node;
	// unset: none is.
	Cluster netip.Prefix
	// Localhost makes IPv4 node ports answer on 127.0.0.1 too.
	Localhost bool
	// RouteLocalnet lets the kernel route loopback addresses; used with Localhost.
	RouteLocalnet func(ctx context.Context, on bool) error
}

// Table keeps a kernel's rules in step with what is set.
type Table struct {
	config   Config
	language language
	nft      knftables.Interface
	registry *registry
	// have is what the kernel holds; nil: not known.
	have  map[thing]content
	vips  map[netip.Addr]int      // how many Services have a cluster IP
	rows  map[string][]netip.Addr // the cluster IPs of each Service
	moved bool                    // whether the set of cluster IPs changed
}

var _ rules.Backend = (*Table)(nil)

// NewTable returns a Table that begins with what is in the kernel: leftovers
// of an earlier life are repaired by the first Sync.
func NewTable(config Config) *Table {
	t := &Table{config: config, language: language{"ip", "ipv4_addr"}, registry: newRegistry(), vips: map[netip.Addr]int{}, rows: map[string][]netip.Addr{}, moved: true}
	if config.IPv6 {
		t.language = language{"ip6", "ipv6_addr"}
	}
	t.config.Localhost = config.Localhost && !config.IPv6
	t.registry.replace(fixed, skeleton(t.language, t.config.Localhost))
	return t
}

// Set notes the newest state of a Service.
func (t *Table) Set(u rules.Update) {
	vips := u.ClusterIPs()
	if !slices.Equal(vips, t.rows[u.Key]) {
		t.count(vips, 1)
		t.count(t.rows[u.Key], -1)
		t.rows[u.Key] = vips
		t.moved = true
	}
	if len(vips) == 0 {
		delete(t.rows, u.Key)
	}
	c := compiler{language: t.language, cluster: t.config.Cluster}
	t.registry.replace(u.Key, c.update(&u))
}

func (t *Table) count(vips []netip.Addr, by int) {
	for _, ip := range vips {
		if t.vips[ip] += by; t.vips[ip] == 0 {
			delete(t.vips, ip)
		}
	}
}

// Sync writes what became different since the last one, in one transaction.
// After an error the next Sync reads the kernel again and writes all of ours.
func (t *Table) Sync(ctx context.Context) error {
	if t.nft == nil {
		nft, err := t.config.Open()
		if err != nil {
			return fmt.Errorf("open nftables: %w", err)
		}
		t.nft = nft
	}
	if t.moved {
		t.moved = false
		t.registry.acquire(thing{kind: aChain, name: foreign}, fixed, foreignChain(t.language, slices.Collect(maps.Keys(t.vips))))
	}
	if t.have == nil {
		return t.whole(ctx)
	}
	if len(t.registry.dirty) == 0 {
		return nil
	}
	have := t.have
	t.have = nil
	if err := t.write(ctx, t.nft.NewTransaction(), have); err != nil {
		return fmt.Errorf("write service rules: %w", err)
	}
	return nil
}

// whole replaces all that is in our table. What clients are remembered stays,
// if the kernel takes it so.
func (t *Table) whole(ctx context.Context) error {
	found, err := t.nft.ListAll(ctx)
	if err != nil && !knftables.IsNotFound(err) {
		return fmt.Errorf("read service rules: %w", err)
	}
	for want := range t.registry.wanted {
		t.registry.dirty[want] = true
	}
	if len(found["chain"]) > 0 {
		if t.write(ctx, t.flush(found), map[thing]content{}) == nil {
			return t.localnet(ctx)
		}
	}
	tx := t.nft.NewTransaction()
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	t.base(tx)
	if err := t.write(ctx, tx, map[thing]content{}); err != nil {
		return fmt.Errorf("write service rules: %w", err)
	}
	return t.localnet(ctx)
}

func (t *Table) localnet(ctx context.Context) error {
	if !t.config.Localhost { // else strangers' loopback addresses are kept out by now
		return nil
	}
	if err := t.config.RouteLocalnet(ctx, true); err != nil {
		t.have = nil // the next Sync begins anew, and tries this again
		return err
	}
	return nil
}

// base makes the table and the chains on hooks.
func (t *Table) base(tx *knftables.Transaction) {
	tx.Add(&knftables.Table{Comment: knftables.PtrTo("services; kept by headway")})
	for _, b := range bases(t.language, t.config.Cluster, t.config.Localhost) {
		tx.Add(&knftables.Chain{Name: b.name, Type: &b.kind, Hook: &b.hook, Priority: &b.priority})
	}
}

// flush empties what was found, so that nothing refers to anything, and deletes
// what is no longer wanted.
func (t *Table) flush(found map[string][]string) *knftables.Transaction {
	tx := t.nft.NewTransaction()
	t.base(tx)
	onHook := map[string]bool{}
	for _, b := range bases(t.language, t.config.Cluster, t.config.Localhost) {
		onHook[b.name] = true
	}
	for _, name := range found["chain"] {
		tx.Flush(&knftables.Chain{Name: name})
	}
	wanted := func(kind kind, name string) bool { return t.registry.wanted[thing{kind: kind, name: name}] != nil }
	for _, name := range found["map"] {
		tx.Flush(&knftables.Map{Name: name})
	}
	for _, name := range found["map"] {
		if !wanted(aMap, name) {
			tx.Delete(&knftables.Map{Name: name})
		}
	}
	for _, name := range found["set"] {
		switch keep := strings.HasPrefix(name, affinityPrefix); {
		case !wanted(aSet, name):
			tx.Delete(&knftables.Set{Name: name})
		case !keep:
			tx.Flush(&knftables.Set{Name: name})
		}
	}
	for _, name := range found["chain"] {
		if !onHook[name] && !wanted(aChain, name) {
			tx.Delete(&knftables.Chain{Name: name})
		}
	}
	return tx
}

// write adds to a transaction what turns have into what is wanted, where that
// is dirty, and runs it.
func (t *Table) write(ctx context.Context, tx *knftables.Transaction, have map[thing]content) error {
	d := diff{wanted: t.registry.wanted, have: have}
	for changed := range t.registry.dirty {
		d.sort(changed)
	}
	d.into(tx)
	if len(have) == 0 {
		for _, b := range bases(t.language, t.config.Cluster, t.config.Localhost) {
			for _, line := range b.rules {
				tx.Add(&knftables.Rule{Chain: b.name, Rule: line})
			}
		}
	}
	if tx.NumOperations() > 0 {
		if err := t.nft.Run(ctx, tx); err != nil {
			return err
		}
	}
	for changed := range t.registry.dirty {
		if e := t.registry.wanted[changed]; e != nil {
			have[changed] = e.want
		} else {
			delete(have, changed)
		}
	}
	clear(t.registry.dirty)
	t.have = have
	return nil
}
