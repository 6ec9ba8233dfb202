package policy

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// Kind is the type of a set in the kernel.
type Kind string

// Kinds of sets. Their elements are written as ADDRESS, ADDRESS/BITS and
// ADDRESS,PROTOCOL:PORT.
const (
	Addresses Kind = "hash:ip"
	Networks  Kind = "hash:net"
	Ports     Kind = "hash:ip,port"
)

// Set is a set as the kernel has it.
type Set struct {
	Kind     Kind
	Elements map[string]bool
}

// Kernel is the edge to the sets and rules of one address family. Adding what
// is there and removing what is not changes nothing. It is used by one
// goroutine at a time.
type Kernel interface {
	// Sets reads the sets and Chains the filter table's chains whose names begin
	// with the prefix.
	Sets(ctx context.Context, prefix string) (map[string]Set, error)
	Chains(ctx context.Context, prefix string) ([]string, error)
	Create(ctx context.Context, set string, kind Kind) error
	Destroy(ctx context.Context, set string) error
	Add(ctx context.Context, set string, kind Kind, element string) error
	Remove(ctx context.Context, set string, kind Kind, element string) error
	// Restore commits the input of an iptables-restore --noflush, whole or not
	// at all.
	Restore(ctx context.Context, input string) error
}

// IPTables is the Kernel behind the iptables programs and netlink.
type IPTables struct {
	// IPv6 chooses the family.
	IPv6 bool
	// NetNS is the path of the network namespace; empty: the thread's own.
	NetNS string
}

var _ Kernel = IPTables{}

func (k IPTables) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	if k.IPv6 {
		program = strings.Replace(program, "iptables", "ip6tables", 1)
	}
	if k.NetNS != "" {
		return exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + k.NetNS, program}, args...)...)
	}
	return exec.CommandContext(ctx, program, args...)
}

// Chains implements Kernel.
func (k IPTables) Chains(ctx context.Context, prefix string) ([]string, error) {
	out, err := k.command(ctx, "iptables", "-w", "5", "-S").Output()
	if err != nil {
		return nil, fmt.Errorf("list chains: %w", err)
	}
	var all []string
	for line := range strings.Lines(string(out)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "-N "); ok && strings.HasPrefix(name, prefix) {
			all = append(all, name)
		}
	}
	return all, nil
}

// Restore implements Kernel.
func (k IPTables) Restore(ctx context.Context, input string) error {
	cmd := k.command(ctx, "iptables-restore", "-w", "5", "--noflush")
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("restore rules: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
