package iptables

import (
	"context"
	"fmt"
)

// Table keeps a kernel's rules in step with a State. It is used by one
// goroutine.
type Table struct {
	kernel Kernel
	have   Ruleset
	linked bool
}

// NewTable returns a Table that begins with what is in the kernel: leftovers
// of an earlier life are repaired by the first Sync.
func NewTable(kernel Kernel) *Table { return &Table{kernel: kernel} }

// Sync makes the kernel's rules those of the state. After an error the next
// Sync reads the kernel again and writes all of ours.
func (t *Table) Sync(ctx context.Context, s State) error {
	if t.have == nil {
		chains, err := t.kernel.Chains(ctx)
		if err != nil {
			return fmt.Errorf("read service rules: %w", err)
		}
		t.have = existing(chains)
	}
	want := Build(s)
	if input := Diff(t.have, want); input != "" {
		if err := t.kernel.Restore(ctx, input); err != nil {
			t.have = nil
			return fmt.Errorf("write service rules: %w", err)
		}
	}
	t.have = want
	if t.linked {
		return nil
	}
	if err := t.kernel.Link(ctx); err != nil {
		return fmt.Errorf("link service rules: %w", err)
	}
	t.linked = true
	return nil
}
