package network

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Rules changes packet rules. Calls may come at once.
type Rules interface {
	// Restore applies a script in iptables-restore's language; chains that it
	// does not name stay.
	Restore(ctx context.Context, script string) error
	// Ensure appends or inserts a rule to a table's chain unless it is there.
	Ensure(ctx context.Context, table, chain string, rule ...string) error
	// Delete removes a rule if it is there.
	Delete(ctx context.Context, table, chain string, rule ...string) error
	// Chains lists a table's chains.
	Chains(ctx context.Context, table string) ([]string, error)
}

// iptables is the kernel's rules through the commands of that name.
type iptables struct {
	// program is that of the family.
	program string
}

func (i iptables) Restore(ctx context.Context, script string) error {
	return run(ctx, script, i.program+"-restore", "-w", "5", "--noflush")
}

func (i iptables) Ensure(ctx context.Context, table, chain string, rule ...string) error {
	if run(ctx, "", i.program, append([]string{"-w", "5", "-t", table, "-C", chain}, rule...)...) == nil {
		return nil
	}
	return run(ctx, "", i.program, append([]string{"-w", "5", "-t", table, "-I", chain}, rule...)...)
}

func (i iptables) Delete(ctx context.Context, table, chain string, rule ...string) error {
	if run(ctx, "", i.program, append([]string{"-w", "5", "-t", table, "-C", chain}, rule...)...) != nil {
		return nil
	}
	return run(ctx, "", i.program, append([]string{"-w", "5", "-t", table, "-D", chain}, rule...)...)
}

func (i iptables) Chains(ctx context.Context, table string) ([]string, error) {
	output, err := exec.CommandContext(ctx, i.program, "-w", "5", "-t", table, "-S").Output()
	if err != nil {
		return nil, fmt.Errorf("list chains of %s: %w", table, err)
	}
	var all []string
	for line := range strings.Lines(string(output)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "-N "); ok {
			all = append(all, name)
		}
	}
	return all, nil
}

func run(ctx context.Context, input, name string, args ...string) error {
	command := exec.CommandContext(ctx, name, args...)
	command.Stdin = strings.NewReader(input)
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := command.Run(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(output.String()))
	}
	return nil
}

// names are the chains of one network; each bridge has its own.
type names struct{ bridge, prefix, postrouting, forward, output, ports, policies string }

func chainNames(bridge string) names {
	p := "HWNET-" + strings.ToUpper(bridge)
	return names{bridge: bridge, prefix: p, postrouting: p + "-POST", forward: p + "-FWD", output: p + "-OUT", ports: p + "-PORTS", policies: PolicyChain(bridge)}
}

// PolicyChain is the chain that forwarded packets of a bridge's pods go through
// before they are let through. Network policies fill it; the network only makes
// it, empty, if it is not there.
func PolicyChain(bridge string) string { return "HWNP-" + strings.ToUpper(bridge) }

// base are the rules that hold for all pods: what goes from pods out of the
// cluster is masqueraded, and pods' traffic is let through, past the network
// policies, where a firewall would refuse by default. A pod that reaches itself
// by way of a Service is not told of a shorter way. The policies' chain is
// declared only where it is not there, for that would empty it.
func (c names) base(f *family, cidr netip.Prefix, havePolicies bool) string {
	declare := ":" + c.policies + " - [0:0]\n"
	if havePolicies {
		declare = ""
	}
	return fmt.Sprintf(`*nat
:%[1]s - [0:0]
:%[3]s - [0:0]
-A %[1]s -s %[5]s ! -d %[4]s -m addrtype ! --dst-type LOCAL,MULTICAST -j MASQUERADE
COMMIT
*filter
:%[2]s - [0:0]
:%[6]s - [0:0]
%[7]s-A %[2]s -j %[8]s
-A %[2]s -s %[5]s -j ACCEPT
-A %[2]s -d %[5]s -j ACCEPT
-A %[6]s -o %[9]s.+ %[10]s -j DROP
COMMIT
`, c.postrouting, c.forward, c.ports, f.cluster, cidr, c.output, declare, c.policies, c.bridge, f.icmp)
}

// hooked are the rules in the kernel's own chains that lead to ours.
func (c names) hooked() [][]string {
	const comment = "headway pod network"
	at := func(table, chain, to string, match ...string) []string {
		return append(append([]string{table, chain}, match...), "-m", "comment", "--comment", comment, "-j", to)
	}
	return [][]string{
		at("nat", "POSTROUTING", c.postrouting),
		at("filter", "FORWARD", c.forward),
		at("filter", "OUTPUT", c.output),
		at("nat", "PREROUTING", c.ports, "-m", "addrtype", "--dst-type", "LOCAL"),
		at("nat", "OUTPUT", c.ports, "-m", "addrtype", "--dst-type", "LOCAL"),
	}
}

// policed is the hook of the policies where another network than this one
// connects the pods.
func (c names) policed() []string {
	return append([]string{"filter", "FORWARD"}, jump("headway network policies", c.policies)...)
}

// HookPolicies leads all that a node forwards through the chain of network
// policies, for pods whose network is none of ours. What goes from pod to pod by
// a bridge passes it only where the kernel has br_netfilter; the answer says
// whether it does.
func HookPolicies(ctx context.Context, bridge string, ipv6 bool) (bridged bool, err error) {
	rules, sysctl := Rules(iptables{"iptables"}), "net/bridge/bridge-nf-call-iptables"
	if ipv6 {
		rules, sysctl = iptables{"ip6tables"}, "net/bridge/bridge-nf-call-ip6tables"
	}
	c := chainNames(bridge)
	chains, err := rules.Chains(ctx, "filter")
	if err != nil {
		return false, err
	}
	if !slices.Contains(chains, c.policies) {
		if err := rules.Restore(ctx, "*filter\n:"+c.policies+" - [0:0]\nCOMMIT\n"); err != nil {
			return false, fmt.Errorf("make the chain of policies: %w", err)
		}
	}
	hook := c.policed()
	if err := rules.Ensure(ctx, hook[0], hook[1], hook[2:]...); err != nil {
		return false, fmt.Errorf("hook policies: %w", err)
	}
	return setSysctl(sysctl, "1") == nil, nil
}

func (c names) hook(ctx context.Context, rules Rules) error {
	for _, r := range c.hooked() {
		if err := rules.Ensure(ctx, r[0], r[1], r[2:]...); err != nil {
			return err
		}
	}
	return nil
}

// pod is the chain of one pod's host ports.
func (c names) pod(uid types.UID) string {
	sum := sha256.Sum256([]byte(uid))
	return c.prefix + "-" + hex.EncodeToString(sum[:])[:27-len(c.prefix)]
}

func jump(comment string, to string) []string {
	return []string{"-m", "comment", "--comment", comment, "-j", to}
}

// openPorts leads the pod's host ports of a family to it, its own connections to
// them too. Pods without any cost nothing.
func (n *Network) openPorts(ctx context.Context, f *family, pod *corev1.Pod, address netip.Addr) error {
	chain := n.chains.pod(pod.UID)
	var script strings.Builder
	for _, c := range append(append([]corev1.Container{}, pod.Spec.InitContainers...), pod.Spec.Containers...) {
		for _, p := range c.Ports {
			on, err := netip.ParseAddr(p.HostIP)
			if p.HostPort == 0 || err == nil && on.Is6() != address.Is6() && !on.IsUnspecified() {
				continue
			}
			protocol, match := "tcp", ""
			if p.Protocol != "" {
				protocol = strings.ToLower(string(p.Protocol))
			}
			if err == nil && !on.IsUnspecified() {
				match = "-d " + on.String() + " "
			}
			fmt.Fprintf(&script, "-A %s %s-p %s -m multiport --dports %d -j DNAT --to-destination %s\n", chain, match, protocol, p.HostPort, netip.AddrPortFrom(address, uint16(p.ContainerPort))) //nolint:gosec // a port
		}
	}
	if script.Len() == 0 {
		return nil
	}
	if err := f.rules.Restore(ctx, fmt.Sprintf("*nat\n:%s - [0:0]\n%sCOMMIT\n", chain, script.String())); err != nil {
		return fmt.Errorf("open host ports: %w", err)
	}
	if err := f.rules.Ensure(ctx, "nat", n.chains.ports, jump("pod "+string(pod.UID), chain)...); err != nil {
		return fmt.Errorf("open host ports: %w", err)
	}
	if err := f.rules.Ensure(ctx, "nat", n.chains.postrouting, toItself(address)...); err != nil {
		return fmt.Errorf("open host ports: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ported[portedKey(chain, f)] = true
	return nil
}

// toItself masquerades a pod that reaches itself: it takes no packets from its
// own address.
func toItself(a netip.Addr) []string {
	return []string{"-s", host(a).String(), "-d", host(a).String(), "-j", "MASQUERADE"}
}

func portedKey(chain string, f *family) string { return fmt.Sprint(chain, " ", f.is6()) }

// closePorts undoes it; mu is held.
func (n *Network) closePorts(ctx context.Context, f *family, uid types.UID) error {
	chain := n.chains.pod(uid)
	if !n.ported[portedKey(chain, f)] {
		return nil
	}
	if err := f.rules.Delete(ctx, "nat", n.chains.ports, jump("pod "+string(uid), chain)...); err != nil {
		return fmt.Errorf("close host ports: %w", err)
	}
	if address, ok := f.leases.of(uid); ok {
		if err := f.rules.Delete(ctx, "nat", n.chains.postrouting, toItself(address)...); err != nil {
			return fmt.Errorf("close host ports: %w", err)
		}
	}
	if err := f.rules.Restore(ctx, fmt.Sprintf("*nat\n:%s - [0:0]\n-X %s\nCOMMIT\n", chain, chain)); err != nil {
		return fmt.Errorf("close host ports: %w", err)
	}
	delete(n.ported, portedKey(chain, f))
	return nil
}

// recall learns which host ports an agent before this one has left open; mu is
// held.
func (n *Network) recall(ctx context.Context, f *family) error {
	all, err := f.rules.Chains(ctx, "nat")
	if err != nil {
		return err
	}
	for _, chain := range all {
		if strings.HasPrefix(chain, n.chains.prefix+"-") {
			n.ported[portedKey(chain, f)] = true
		}
	}
	return nil
}
