package iptables_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headway-sh/headway/proxy/iptables"
	"github.com/headway-sh/headway/proxy/model"
	"github.com/headway-sh/headway/proxy/rules"
)

// space makes a network namespace that lives as long as the test and gives its path.
func space(t testing.TB) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make a network namespace")
	}
	for _, program := range []string{"iptables-restore", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s", program)
		}
	}
	path := filepath.Join(t.TempDir(), "net")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), path, "", unix.MS_BIND, "")
	}()
	if err := <-done; err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(path, 0); err != nil {
			t.Errorf("let go of the network namespace: %v", err)
		}
	})
	return path
}

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
	space := space(t)
	foreign := []string{"-t", "nat", "-A", "PREROUTING", "-p", "tcp", "-j", "ACCEPT"}
	if out, err := exec.Command("nsenter", append([]string{"--net=" + space, "iptables"}, foreign...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	kernel := iptables.Exec{NetNS: space}
	config := iptables.Config{Kernel: kernel, Cluster: podNet, Localhost: true}
	table := iptables.NewTable(config)
	for _, u := range everyForm() {
		table.Set(u)
	}
	for _, u := range many(40) {
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
	for _, u := range many(40) {
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
	for _, u := range everyForm() {
		second.Set(u)
	}
	if err := second.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := saved(t, space); strings.Contains(got, "STRAY") || !strings.Contains(got, "-A HW-SERVICES") || strings.Count(got, "-j HW-SERVICES") != 2 {
		t.Errorf("not repaired:\n%s", got)
	}
	if err := iptables.Remove(t.Context(), kernel); err != nil {
		t.Fatal(err)
	}
	if got := saved(t, space); strings.Contains(got, "HW-") || !strings.Contains(got, "-p tcp -j ACCEPT") {
		t.Errorf("left behind, or taken from others:\n%s", got)
	}
}

// everyForm is a Service for every form of rule.
func everyForm() []rules.Update {
	ends := []netip.AddrPort{netip.MustParseAddrPort("10.244.0.5:8080"), netip.MustParseAddrPort("10.244.1.7:8080")}
	base := model.ServicePort{Namespace: "shop", Service: "web", Port: "http", Protocol: "tcp", ClusterIP: netip.MustParseAddr("10.96.9.20"), Number: 80,
		NodePort: 30080, Cluster: ends, Local: ends[:1], External: []netip.Addr{netip.MustParseAddr("203.0.113.9")}}
	sticky, kept, empty := base, base, base
	sticky.Service, sticky.NodePort, sticky.AffinitySeconds = "sticky", 30017, 60
	kept.Service, kept.NodePort, kept.ExternalLocal, kept.Protocol = "kept", 30018, true, "udp"
	kept.Balancer, kept.Ranges = []netip.Addr{netip.MustParseAddr("203.0.113.10")}, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	empty.Service, empty.NodePort, empty.Cluster, empty.Local = "empty", 30019, nil, nil
	var out []rules.Update
	for i, p := range []model.ServicePort{base, sticky, kept, empty} {
		p.ClusterIP = netip.AddrFrom4([4]byte{10, 96, 9, byte(20 + i)})
		out = append(out, rules.UpdateOf("shop/"+p.Service, []model.ServicePort{p}, nil))
	}
	return out
}

// On the kernel of this machine: the first write of 10,000 Services of two
// endpoints, and then one endpoint that goes and comes.
func BenchmarkKernel(b *testing.B) {
	table := iptables.NewTable(iptables.Config{Kernel: iptables.Exec{NetNS: space(b)}, Cluster: podNet})
	begun := time.Now()
	for _, u := range many(10000) {
		table.Set(u)
	}
	if err := table.Sync(b.Context()); err != nil {
		b.Fatal(err)
	}
	full := time.Since(begun)
	var took []time.Duration
	for n := 0; b.Loop(); n++ {
		u := plain(77, "10.244.0.9:8080")
		if n%2 == 1 {
			u = plain(77, "10.244.0.9:8080", "10.244.1.10:8080")
		}
		begun := time.Now()
		table.Set(u)
		if err := table.Sync(b.Context()); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	b.ReportMetric(full.Seconds(), "full-s")
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "one-p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "one-p99-ms")
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
	for _, u := range many(10000) {
		table.Set(u)
	}
	if err := table.Sync(b.Context()); err != nil {
		b.Fatal(err)
	}
	for n := 0; b.Loop(); n++ {
		table.Set(plain(77, fmt.Sprintf("10.244.0.%d:8080", n%200)))
		if err := table.Sync(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
