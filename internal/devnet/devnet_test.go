package devnet_test

import (
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/headway-sh/headway/internal/devnet"
)

func TestMachinesReachEachOther(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("making network namespaces needs root")
	}
	n := devnet.Network{Dir: t.TempDir(), HostLink: "hwdtest0", Prefix: netip.MustParsePrefix("10.91.7.0/24")}
	t.Cleanup(func() {
		if err := n.Down(); err != nil {
			t.Error(err)
		}
		if _, err := netlink.LinkByName(n.HostLink); err == nil {
			t.Error("this machine's link is still there")
		}
	})
	for range 2 { // the second time repairs
		if err := n.Up(); err != nil {
			t.Fatal(err)
		}
		for machine, at := range map[string]string{"a": "10.91.7.11", "b": "10.91.7.12"} {
			if err := n.Add(machine, netip.MustParseAddr(at)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, err := n.Machines(); err != nil || strings.Join(got, " ") != "a b" {
		t.Errorf("machines %v, %v", got, err)
	}
	if out, err := ping(n, "a", "10.91.7.12"); err != nil {
		t.Errorf("a does not reach b: %v: %s", err, out)
	}
	if out, err := ping(n, "a", "10.91.7.1"); err != nil {
		t.Errorf("a does not reach this machine: %v: %s", err, out)
	}
	for name, i := range map[string]devnet.Impairment{"in": {In: 1}, "out": {Out: 1}} {
		if err := n.Impair("b", i); err != nil {
			t.Fatal(err)
		}
		// Neither way is any use without the other.
		if _, err := ping(n, "a", "10.91.7.12"); err == nil {
			t.Errorf("a reaches b, which is cut off one way: %s", name)
		}
	}
	for range 2 {
		if err := n.Impair("b", devnet.Impairment{In: 0.2, Out: 0.2}); err != nil {
			t.Fatal(err)
		}
	}
	if saved := rules(t, n, "b"); strings.Count(saved, "--probability 0.2") != 2 || strings.Count(saved, "-j HWDEV") != 2 {
		t.Errorf("a lossy link has the rules\n%s", saved)
	}
	if err := n.Impair("b", devnet.Impairment{}); err != nil {
		t.Fatal(err)
	}
	if out, err := ping(n, "a", "10.91.7.12"); err != nil {
		t.Errorf("a does not reach b by a good link: %v: %s", err, out)
	}
	if saved := rules(t, n, "b"); strings.Contains(saved, "-j") {
		t.Errorf("a good link has the rules\n%s", saved)
	}
	if err := n.Plug("b", false); err != nil {
		t.Fatal(err)
	}
	if _, err := ping(n, "a", "10.91.7.12"); err == nil {
		t.Error("a reaches b, which was cut off")
	}
	if err := n.Plug("b", true); err != nil {
		t.Fatal(err)
	}
	if out, err := ping(n, "a", "10.91.7.12"); err != nil {
		t.Errorf("a does not reach b again: %v: %s", err, out)
	}
}

func rules(t *testing.T, n devnet.Network, machine string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "nsenter", "--net="+n.Path(machine), "iptables-save").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// ping sends from a machine; bash is on every machine that has ip, ping is not.
func ping(n devnet.Network, machine, to string) (string, error) {
	var out strings.Builder
	cmd := exec.Command("timeout", "2", "bash", "-c", "exec 3<>/dev/tcp/"+to+"/9")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := n.Start(machine, cmd); err != nil {
		return "", err
	}
	err := cmd.Wait()
	if strings.Contains(out.String(), "refused") {
		return "", nil // somebody was there to refuse
	}
	return out.String(), err
}
