package iptables_test

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/headway-sh/headway/proxy/backendtest"
	"github.com/headway-sh/headway/proxy/iptables"
	"github.com/headway-sh/headway/proxy/rules"
)

func saved(t *testing.T, space string) string {
	t.Helper()
	out, err := exec.Command("nsenter", "--net="+space, "iptables-save").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// The kernel of this machine accepts every form of rule, a second life repairs
// what the first left, and Remove leaves what others made, and only that.
func TestRealKernel(t *testing.T) {
	t.Parallel()
	space := backendtest.Space(t, "iptables-restore", "nsenter")
	foreign := []string{"-t", "nat", "-A", "PREROUTING", "-p", "tcp", "-j", "ACCEPT"}
	if out, err := exec.Command("nsenter", append([]string{"--net=" + space, "iptables"}, foreign...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	kernel := iptables.Exec{NetNS: space}
	config := iptables.Config{Kernel: kernel, Cluster: podNet, Localhost: true}
	table := iptables.NewTable(config)
	for _, u := range backendtest.EveryForm() {
		table.Set(u)
	}
	for _, u := range backendtest.Many(40) {
		table.Set(u)
	}
	if err := table.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	full := saved(t, space)
	for _, want := range []string{"HW-MARTIANS", "--reap", "--ctorigdst", "--src-type LOCAL", "-j DROP", "-j REJECT", "--dport 30080", "30016:30079"} {
		if !strings.Contains(full, want) {
			t.Errorf("no rule with %q", want)
		}
	}
	for _, u := range backendtest.Many(40) {
		table.Set(rules.Update{Key: u.Key})
	}
	if err := table.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	// What the next life finds: a chain that nobody wants, and one that somebody emptied.
	damage := "*nat\n:HW-S-STRAY - [0:0]\n:HW-SERVICES - [0:0]\nCOMMIT\n"
	if err := kernel.Restore(t.Context(), damage); err != nil {
		t.Fatal(err)
	}
	second := iptables.NewTable(config)
	for _, u := range backendtest.EveryForm() {
		second.Set(u)
	}
	if err := second.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := saved(t, space); strings.Contains(got, "STRAY") || !strings.Contains(got, "-A HW-SERVICES") || strings.Count(got, "-j HW-SERVICES") != 2 {
		t.Errorf("not repaired:\n%s", got)
	}
	if found, err := iptables.Remove(t.Context(), kernel); err != nil || !found {
		t.Fatal(found, err)
	}
	if got := saved(t, space); strings.Contains(got, "HW-") || !strings.Contains(got, "-p tcp -j ACCEPT") {
		t.Errorf("left behind, or taken from others:\n%s", got)
	}
}

func BenchmarkKernel(b *testing.B) {
	backendtest.BenchmarkWrites(b, backendtest.Space(b, "iptables-restore"), iptables.NewTable(iptables.Config{Kernel: iptables.Exec{}, Cluster: podNet}))
}

func BenchmarkConnect(b *testing.B) {
	backendtest.BenchmarkConnect(b, backendtest.Space(b, "iptables-restore"), iptables.NewTable(iptables.Config{Kernel: iptables.Exec{}, Cluster: podNet}))
}

// nothing is a kernel that takes everything.
type nothing struct{}

func (nothing) Chains(context.Context) (map[string][]string, error) { return nil, nil }
func (nothing) Restore(context.Context, string) error               { return nil }
func (nothing) Link(context.Context) error                          { return nil }
func (nothing) Unlink(context.Context) error                        { return nil }
func (nothing) RouteLocalnet(context.Context, bool) error           { return nil }

// What one change costs apart from the kernel.
func BenchmarkOneChangeAmong10000(b *testing.B) {
	table := iptables.NewTable(iptables.Config{Kernel: nothing{}, Cluster: podNet})
	for _, u := range backendtest.Many(10000) {
		table.Set(u)
	}
	if err := table.Sync(b.Context()); err != nil {
		b.Fatal(err)
	}
	for n := 0; b.Loop(); n++ {
		table.Set(backendtest.Plain(77, fmt.Sprintf("10.244.0.%d:8080", n%200)))
		if err := table.Sync(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func TestRealKernelIPv6(t *testing.T) {
	t.Parallel()
	space := backendtest.Space(t, "ip6tables-restore", "nsenter")
	table := iptables.NewTable(iptables.Config{Kernel: iptables.Exec{IPv6: true, NetNS: space}, IPv6: true, Cluster: netip.MustParsePrefix("fd00::af4:0/112"), Localhost: true})
	for _, u := range backendtest.Six(append(backendtest.EveryForm(), backendtest.Many(60)...)) {
		table.Set(u)
	}
	if err := table.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("nsenter", "--net="+space, "ip6tables-save").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"-d ::3/::f -j HW-G-4-3", "-d ::1/128 -j RETURN", "--to-destination [fd00::af4:9]:8080", "--ctorigdst fd00::a60:"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no rule with %q", want)
		}
	}
}
