package iptables

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"

	"github.com/headway-sh/headway/proxy/localnet"
)

// Kernel is the edge to the kernel's rules in one address family.
type Kernel interface {
	// Chains lists our chains (HW-…) that exist, by table.
	Chains(ctx context.Context) (map[string][]string, error)
	// Restore commits the input of an iptables-restore --noflush, each table
	// whole or not at all.
	Restore(ctx context.Context, input string) error
	// Link makes built-in chains jump to those of ours that exist, once each;
	// Unlink takes the jumps away. Both are idempotent.
	Link(ctx context.Context) error
	Unlink(ctx context.Context) error
	// RouteLocalnet lets the kernel route loopback addresses, or not.
	RouteLocalnet(ctx context.Context, on bool) error
}

// link is one jump from a built-in chain.
type link struct{ table, from, to string }

var links = []link{
	{NAT, "PREROUTING", Services},
	{NAT, "OUTPUT", Services},
	{NAT, "POSTROUTING", Postrouting},
	{Filter, "INPUT", Reject},
	{Filter, "FORWARD", Reject},
	{Filter, "OUTPUT", Reject},
	{Raw, "PREROUTING", Martians},
}

// Exec is the Kernel behind the iptables programs.
type Exec struct {
	// IPv6 chooses ip6tables.
	IPv6 bool
	// NetNS enters a network namespace by its path first; empty: this one.
	NetNS string
}

var _ Kernel = Exec{}

func (e Exec) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	if e.IPv6 {
		program = strings.Replace(program, "iptables", "ip6tables", 1)
	}
	if e.NetNS != "" {
		return exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + e.NetNS, program}, args...)...)
	}
	return exec.CommandContext(ctx, program, args...)
}

func run(cmd *exec.Cmd) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}

// Chains reads the chains' names.
func (e Exec) Chains(ctx context.Context) (map[string][]string, error) {
	chains := map[string][]string{}
	for _, table := range []string{NAT, Filter, Raw} {
		saved, err := run(e.command(ctx, "iptables-save", "-t", table))
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(saved)) {
			if name, ok := strings.CutPrefix(line, ":"); ok && strings.HasPrefix(name, prefix) {
				name, _, _ = strings.Cut(name, " ")
				chains[table] = append(chains[table], name)
			}
		}
	}
	return chains, nil
}

// Restore pipes the input to iptables-restore.
func (e Exec) Restore(ctx context.Context, input string) error {
	cmd := e.command(ctx, "iptables-restore", "--noflush", "--wait", "5")
	cmd.Stdin = strings.NewReader(input)
	_, err := run(cmd)
	return err
}

// Link inserts the jumps that are missing, before foreign rules.
func (e Exec) Link(ctx context.Context) error {
	chains, err := e.Chains(ctx)
	if err != nil {
		return err
	}
	for _, l := range links {
		if !slices.Contains(chains[l.table], l.to) {
			continue
		}
		if _, err := run(e.command(ctx, "iptables", "-w", "5", "-t", l.table, "-C", l.from, "-j", l.to)); err == nil {
			continue
		}
		if _, err := run(e.command(ctx, "iptables", "-w", "5", "-t", l.table, "-I", l.from, "1", "-j", l.to)); err != nil {
			return err
		}
	}
	return nil
}

// Unlink removes the jumps.
func (e Exec) Unlink(ctx context.Context) error {
	for _, l := range links {
		if _, err := run(e.command(ctx, "iptables", "-w", "5", "-t", l.table, "-C", l.from, "-j", l.to)); err != nil {
			continue
		}
		if _, err := run(e.command(ctx, "iptables", "-w", "5", "-t", l.table, "-D", l.from, "-j", l.to)); err != nil {
			return err
		}
	}
	return nil
}

// RouteLocalnet switches the kernel's setting.
func (e Exec) RouteLocalnet(ctx context.Context, on bool) error {
	return localnet.Set(ctx, e.NetNS, on)
}

// Remove takes everything of ours out of the kernel, what a proxy of an earlier
// life left as well, and tells whether there was anything. Whether the kernel
// routes loopback addresses stays as it is.
func Remove(ctx context.Context, k Kernel) (found bool, err error) {
	chains, err := k.Chains(ctx)
	if err != nil {
		return false, fmt.Errorf("remove service rules: %w", err)
	}
	if len(chains) == 0 {
		return false, nil
	}
	if err := k.Unlink(ctx); err != nil {
		return true, fmt.Errorf("remove service rules: %w", err)
	}
	var input strings.Builder
	for _, table := range slices.Sorted(maps.Keys(chains)) {
		input.WriteString("*" + table + "\n")
		for _, name := range chains[table] {
			input.WriteString(":" + name + " - [0:0]\n")
		}
		for _, name := range chains[table] {
			input.WriteString("-X " + name + "\n")
		}
		input.WriteString("COMMIT\n")
	}
	if err := k.Restore(ctx, input.String()); err != nil {
		return true, fmt.Errorf("remove service rules: %w", err)
	}
	return true, nil
}
