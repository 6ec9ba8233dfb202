package nftables_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/knftables"

	"github.com/headway-sh/headway/proxy/backendtest"
	"github.com/headway-sh/headway/proxy/nftables"
	"github.com/headway-sh/headway/proxy/nftables/emulator"
	"github.com/headway-sh/headway/proxy/rules"
)

// machine is a Table on an emulated kernel.
type machine struct {
	*nftables.Table
	kernel *emulator.Kernel
	facts  backendtest.Facts
}

var _ backendtest.Machine = (*machine)(nil)

func newMachine(f backendtest.Facts) backendtest.Machine {
	m := &machine{kernel: emulator.New(f.Local...), facts: f}
	m.Restart()
	return m
}

func (m *machine) Send(p backendtest.Packet, choose func(int) bool) backendtest.Fate {
	return m.kernel.Send(p, choose)
}

func (m *machine) Restart() {
	m.Table = nftables.NewTable(nftables.Config{Open: func() (knftables.Interface, error) { return m.kernel, nil },
		Cluster: m.facts.Cluster, Localhost: m.facts.Localhost, RouteLocalnet: ignore})
}

func (m *machine) FailNext() { m.kernel.FailRun = errors.New("injected") }

// Leftovers compares dumps, in which the order of elements means nothing.
func (m *machine) Leftovers(fresh backendtest.Machine) int {
	lines := func(m *machine) []string {
		out := strings.Split(m.kernel.Dump(), "\n")
		slices.Sort(out)
		return out
	}
	have, want := lines(m), lines(fresh.(*machine))
	n := max(len(have), len(want)) - min(len(have), len(want))
	for i := range min(len(have), len(want)) {
		if have[i] != want[i] {
			n++
		}
	}
	return n
}

func TestPackets(t *testing.T)    { t.Parallel(); backendtest.Packets(t, newMachine) }
func TestAffinity(t *testing.T)   { t.Parallel(); backendtest.Affinity(t, newMachine) }
func TestRandomWalk(t *testing.T) { t.Parallel(); backendtest.Walk(t, newMachine) }

func TestWritesOnlyWhatChanged(t *testing.T) {
	t.Parallel()
	kernel := emulator.New()
	table := nftables.NewTable(nftables.Config{Open: func() (knftables.Interface, error) { return kernel, nil }, Cluster: backendtest.PodNet})
	for _, u := range backendtest.Many(100) {
		table.Set(u)
	}
	for _, step := range []struct {
		name string
		set  []rules.Update
		want string
	}{
		{"first", nil, kernelFilled},
		{"nothing new", backendtest.Many(100), ""},
		{"one endpoint moves", []rules.Update{backendtest.Plain(7, "10.244.0.9:8080", "10.244.1.11:8080")}, `delete element ip headway-services ends-2-1 { 10.96.0.7 . tcp . 80 }
add element ip headway-services ends-2-1 { 10.96.0.7 . tcp . 80 : 10.244.1.11 . 8080 }
`},
		{"one endpoint less", []rules.Update{backendtest.Plain(7, "10.244.0.9:8080")}, `delete element ip headway-services ends-2-0 { 10.96.0.7 . tcp . 80 }
delete element ip headway-services ends-2-1 { 10.96.0.7 . tcp . 80 }
add element ip headway-services ends-1-0 { 10.96.0.7 . tcp . 80 : 10.244.0.9 . 8080 }
`},
	} {
		kernel.LastTransaction = nil
		for _, u := range step.set {
			table.Set(u)
		}
		if err := table.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := ""
		if kernel.LastTransaction != nil {
			got = kernel.LastTransaction.String()
		}
		if got != step.want && step.want != kernelFilled || step.want == kernelFilled && got == "" {
			t.Errorf("%s: wrote\n%s\nwant\n%s", step.name, got, step.want)
		}
	}
}

// kernelFilled stands for a first write, whatever it says.
const kernelFilled = "everything"

func ignore(context.Context, bool) error { return nil }

// TestRouteLocalnetIsTriedAgain: node ports would not answer on 127.0.0.1 for good.
func TestRouteLocalnetIsTriedAgain(t *testing.T) {
	t.Parallel()
	kernel, tries := emulator.New(), 0
	table := nftables.NewTable(nftables.Config{Open: func() (knftables.Interface, error) { return kernel, nil }, Localhost: true,
		RouteLocalnet: func(context.Context, bool) error {
			if tries++; tries == 1 {
				return errors.New("injected")
			}
			return nil
		}})
	if err := table.Sync(t.Context()); err == nil {
		t.Error("the failure is not told")
	}
	if err := table.Sync(t.Context()); err != nil || tries != 2 {
		t.Errorf("%d tries, %v", tries, err)
	}
}
