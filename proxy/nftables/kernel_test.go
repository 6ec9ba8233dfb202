package nftables_test

import (
	"context"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/knftables"

	"github.com/headway-sh/headway/proxy/backendtest"
	"github.com/headway-sh/headway/proxy/localnet"
	"github.com/headway-sh/headway/proxy/nftables"
	"github.com/headway-sh/headway/proxy/rules"
)

// inSpace gives a Table whose kernel is a network namespace.
func inSpace(space string, ipv6 bool) *nftables.Table {
	return nftables.NewTable(nftables.Config{Open: func() (knftables.Interface, error) { return nftables.Open(ipv6) },
		IPv6: ipv6, Cluster: backendtest.PodNet, Localhost: true,
		RouteLocalnet: func(ctx context.Context, on bool) error { return localnet.Set(ctx, space, on) }})
}

func listed(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("nft", "list", "ruleset").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// The kernel of this machine accepts every form of rule, a second life repairs
// what the first left, and Remove leaves what others made, and only that.
func TestRealKernel(t *testing.T) {
	t.Parallel()
	space := backendtest.Space(t, "nft", "nsenter")
	err := backendtest.Within(space, func() error {
		if out, err := exec.Command("nft", "add", "table", "ip", "foreign").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		table := inSpace(space, false)
		sync := func(table *nftables.Table, updates []rules.Update) {
			t.Helper()
			for _, u := range updates {
				table.Set(u)
			}
			if err := table.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		sync(table, append(backendtest.EveryForm(), backendtest.Many(40)...))
		full := listed(t)
		for _, want := range []string{"chain martians", "update @client-", "10.96.9.24 . tcp . 80 : goto of-6", "fib saddr type local goto host-", "ct original ip daddr"} {
			if !strings.Contains(full, want) {
				t.Errorf("nothing with %q", want)
			}
		}
		var gone []rules.Update
		for _, u := range backendtest.Many(40) {
			gone = append(gone, rules.Update{Key: u.Key})
		}
		sync(table, gone)
		tidy := listed(t)
		// What the next life finds: things that nobody wants, and a chain that somebody emptied.
		damage := "add chain ip headway-services stray\nadd map ip headway-services strays { type ipv4_addr : verdict ; }\n" +
			"add element ip headway-services strays { 10.0.0.1 : goto stray }\nadd element ip headway-services services { 10.96.0.1 . tcp . 80 : goto stray }\nflush chain ip headway-services services\n"
		nft := exec.Command("nft", "-f", "-")
		nft.Stdin = strings.NewReader(damage)
		if out, err := nft.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		sync(inSpace(space, false), backendtest.EveryForm())
		sorted := func(text string) []string {
			lines := strings.Split(text, "\n")
			slices.Sort(lines)
			return lines
		}
		if got := listed(t); len(sorted(got)) != len(sorted(tidy)) || strings.Contains(got, "stray") {
			t.Errorf("not repaired:\n%s\nwant\n%s", got, tidy)
		}
		opened, err := nftables.Open(false)
		if err != nil {
			return err
		}
		if found, err := nftables.Remove(t.Context(), opened); err != nil || !found {
			t.Fatal(found, err)
		}
		if got := listed(t); strings.Contains(got, "headway") || !strings.Contains(got, "table ip foreign") {
			t.Errorf("left behind, or taken from others:\n%s", got)
		}
		if found, err := nftables.Remove(t.Context(), opened); err != nil || found {
			t.Errorf("once more: %v, %v", found, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func BenchmarkKernel(b *testing.B) {
	space := backendtest.Space(b, "nft")
	backendtest.BenchmarkWrites(b, space, inSpace(space, false))
}

func BenchmarkConnect(b *testing.B) {
	space := backendtest.Space(b, "nft")
	backendtest.BenchmarkConnect(b, space, inSpace(space, false))
}

func TestRealKernelIPv6(t *testing.T) {
	t.Parallel()
	space := backendtest.Space(t, "nft")
	err := backendtest.Within(space, func() error {
		table := nftables.NewTable(nftables.Config{Open: func() (knftables.Interface, error) { return nftables.Open(true) }, IPv6: true, Cluster: netip.MustParsePrefix("fd00::af4:0/112"), Localhost: true})
		for _, u := range backendtest.Six(append(backendtest.EveryForm(), backendtest.Many(60)...)) {
			table.Set(u)
		}
		if err := table.Sync(t.Context()); err != nil {
			return err
		}
		out, err := exec.Command("nft", "list", "ruleset").Output()
		if err != nil {
			return err
		}
		for _, want := range []string{"fd00::a60:3 . tcp . 80 : fd00::af4:9 . 8080", "dnat to [fd00::af4:5]:8080", "ct original ip6 daddr"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("nothing with %q", want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
