package iptables_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headway-sh/headway/proxy/backendtest"
	"github.com/headway-sh/headway/proxy/iptables"
	"github.com/headway-sh/headway/proxy/iptables/emulator"
	"github.com/headway-sh/headway/proxy/rules"
)

var (
	podNet = netip.MustParsePrefix("10.244.0.0/16")
)

// machine is a Table on an emulated kernel.
type machine struct {
	*iptables.Table
	kernel *emulator.Kernel
	config iptables.Config
}

var _ backendtest.Machine = (*machine)(nil)

func newMachine(f backendtest.Facts) backendtest.Machine {
	m := &machine{kernel: emulator.New(f.Local...)}
	m.config = iptables.Config{Kernel: m.kernel, Cluster: f.Cluster, Localhost: f.Localhost}
	m.Restart()
	return m
}

func (m *machine) Send(p backendtest.Packet, choose func(int) bool) backendtest.Fate {
	return m.kernel.Send(p, choose)
}
func (m *machine) Restart()  { m.Table = iptables.NewTable(m.config) }
func (m *machine) FailNext() { m.kernel.FailRestore = errors.New("injected") }
func (m *machine) Leftovers(fresh backendtest.Machine) int {
	have, want := m.kernel.Dump(), fresh.(*machine).kernel.Dump()
	n := 0
	for name := range have {
		if !slices.Equal(have[name], want[name]) {
			n++
		}
		delete(want, name)
	}
	return n + len(want)
}

func TestPackets(t *testing.T)    { t.Parallel(); backendtest.Packets(t, newMachine) }
func TestAffinity(t *testing.T)   { t.Parallel(); backendtest.Affinity(t, newMachine) }
func TestRandomWalk(t *testing.T) { t.Parallel(); backendtest.Walk(t, newMachine) }

// counter counts what is written.
type counter struct {
	*emulator.Kernel
	inputs []string
}

func (c *counter) Restore(ctx context.Context, input string) error {
	c.inputs = append(c.inputs, input)
	return c.Kernel.Restore(ctx, input)
}

func TestWritesOnlyWhatChanged(t *testing.T) {
	t.Parallel()
	kernel := &counter{Kernel: emulator.New()}
	table := iptables.NewTable(iptables.Config{Kernel: kernel, Cluster: podNet})
	for _, u := range backendtest.Many(100) {
		table.Set(u)
	}
	for _, step := range []struct {
		name   string
		set    []rules.Update
		writes int
	}{
		{"first", nil, 1},
		{"nothing new", backendtest.Many(100), 0},
		{"one endpoint less", []rules.Update{backendtest.Plain(7, "10.244.0.9:8080")}, 1},
	} {
		kernel.inputs = nil
		for _, u := range step.set {
			table.Set(u)
		}
		if err := table.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(kernel.inputs) != step.writes {
			t.Errorf("%s: %d writes, want %d", step.name, len(kernel.inputs), step.writes)
		}
	}
	want := "*nat\n:HW-G-4-7 - [0:0]\n"
	for _, i := range []int{23, 39, 55, 7, 71, 87} {
		u := backendtest.Many(100)[i]
		id := fmt.Sprintf("-A HW-G-4-7 -d %s/32 -p tcp -m tcp --dport 80", u.Rows[0].IP)
		if i == 7 {
			want += id + " -m comment --comment \"many/service-7:http\" -j DNAT --to-destination 10.244.0.9:8080\n"
			continue
		}
		want += fmt.Sprintf("%s -m comment --comment \"many/service-%d:http\" -m statistic --mode random --probability 0.5000000000 -j DNAT --to-destination 10.244.0.9:8080\n", id, i)
		want += id + " -j DNAT --to-destination 10.244.1.10:8080\n"
	}
	if diff := cmp.Diff(want+"COMMIT\n", kernel.inputs[0]); diff != "" {
		t.Errorf("one change writes its bucket (-want +got):\n%s", diff)
	}
}

// A packet is tested against few rules, however many services there are.
func TestRuleTestsPerPacket(t *testing.T) {
	t.Parallel()
	kernel := emulator.New()
	table := iptables.NewTable(iptables.Config{Kernel: kernel, Cluster: podNet})
	const n = 4096
	for _, u := range backendtest.Many(n) {
		table.Set(u)
	}
	if err := table.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	dump := kernel.Dump()
	longest := 0
	for name := range maps.Keys(dump) {
		longest = max(longest, len(dump[name]))
	}
	const levels, most = 2, 2 * 16
	buckets := 16 + 16*16 // in each of the tables nat and filter
	if longest > most || len(dump) > 2*buckets+16 {
		t.Errorf("on %d levels a chain has %d rules, want at most %d, in %d chains", levels, longest, most, len(dump))
	}
}
