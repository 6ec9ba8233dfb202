package policy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// syncer keeps one family's kernel in step with its table.
type syncer struct {
	kernel Kernel
	// sets and chains are what the kernel has, as far as it is known; nil: it
	// has to be read. Of a chain that was found the rules are not known.
	sets   map[string]Set
	chains map[string]*[]string
}

// sync brings what has changed in the table into the kernel. After an error the
// next one reads the kernel again and looks at everything. Nothing is referred
// to before it is filled or destroyed while it is referred to; pods are isolated
// last and let go first, so that a change of policies cuts nobody off between.
func (s *syncer) sync(ctx context.Context, t *table) error {
	t.dispatch()
	if s.sets == nil {
		if err := s.read(ctx, t); err != nil {
			return err
		}
	}
	if len(t.changedSets)+len(t.changedChains) == 0 {
		return nil
	}
	if err := s.write(ctx, t); err != nil {
		s.sets, s.chains = nil, nil
		return err
	}
	clear(t.changedSets)
	clear(t.changedChains)
	return nil
}

// read learns what is in the kernel and marks all of it, and of the table, as
// changed.
func (s *syncer) read(ctx context.Context, t *table) error {
	sets, err := s.kernel.Sets(ctx, t.names.sets)
	if err != nil {
		return err
	}
	chains, err := s.kernel.Chains(ctx, t.names.dispatch)
	if err != nil {
		return err
	}
	s.sets, s.chains = sets, map[string]*[]string{}
	for _, name := range chains {
		if t.names.ours(name) {
			s.chains[name] = nil
			t.changedChains[name] = true
		}
	}
	for name := range t.chains {
		t.changedChains[name] = true
	}
	for name, set := range sets {
		for e := range set.Elements {
			t.touch(name)[e] = true
		}
		t.touch(name)
	}
	for name, set := range t.sets {
		for e := range set.elements {
			t.touch(name)[e] = true
		}
		t.touch(name)
	}
	return nil
}

func (s *syncer) write(ctx context.Context, t *table) error {
	isolates := func(set string) bool { return set == t.names.isolatedIn || set == t.names.isolatedOut }
	all := slices.Sorted(maps.Keys(t.changedSets))
	for _, set := range all {
		if err := s.create(ctx, t, set); err != nil {
			return err
		}
	}
	for _, step := range []struct{ isolating, add bool }{{false, true}, {true, false}} {
		if err := s.change(ctx, t, all, step.add, func(set string) bool { return isolates(set) == step.isolating }); err != nil {
			return err
		}
	}
	if err := s.restore(ctx, t); err != nil {
		return err
	}
	for _, step := range []struct{ isolating, add bool }{{true, true}, {false, false}} {
		if err := s.change(ctx, t, all, step.add, func(set string) bool { return isolates(set) == step.isolating }); err != nil {
			return err
		}
	}
	for _, set := range all {
		if _, have := s.sets[set]; have && t.sets[set] == nil {
			if err := s.kernel.Destroy(ctx, set); err != nil {
				return err
			}
			delete(s.sets, set)
		}
	}
	return nil
}

// create makes a set that is wanted. One of another kind in its place is not
// ours any more: it can only be from another release, and goes first.
func (s *syncer) create(ctx context.Context, t *table, set string) error {
	want := t.sets[set]
	have, ok := s.sets[set]
	if want == nil || ok && have.Kind == want.kind {
		return nil
	}
	if ok {
		if err := s.kernel.Destroy(ctx, set); err != nil {
			return err
		}
	}
	if err := s.kernel.Create(ctx, set, want.kind); err != nil {
		return err
	}
	s.sets[set] = Set{Kind: want.kind, Elements: map[string]bool{}}
	return nil
}

// change adds the elements that are missing in some of the sets, or removes
// those that are too many.
func (s *syncer) change(ctx context.Context, t *table, sets []string, add bool, which func(set string) bool) error {
	for _, set := range sets {
		have, ok := s.sets[set]
		if !ok || !which(set) {
			continue
		}
		for e := range t.changedSets[set] {
			wanted := t.sets[set] != nil && t.sets[set].elements[e] > 0
			if wanted != add || wanted == have.Elements[e] {
				continue
			}
			var err error
			if add {
				err = s.kernel.Add(ctx, set, have.Kind, e)
				have.Elements[e] = true
			} else {
				err = s.kernel.Remove(ctx, set, have.Kind, e)
				delete(have.Elements, e)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// restore writes the chains that differ, at once: all are made or emptied
// first, as they lead to each other.
func (s *syncer) restore(ctx context.Context, t *table) error {
	var declare, fill, remove strings.Builder
	next := maps.Clone(s.chains)
	for _, name := range slices.Sorted(maps.Keys(t.changedChains)) {
		rules, wanted := t.chains[name]
		have, known := s.chains[name]
		if !wanted && !known || wanted && known && have != nil && slices.Equal(*have, rules) {
			continue
		}
		declare.WriteString(":" + name + " - [0:0]\n")
		for _, r := range rules {
			fill.WriteString("-A " + name + " " + r + "\n")
		}
		if next[name] = &rules; !wanted {
			remove.WriteString("-X " + name + "\n")
			delete(next, name)
		}
	}
	if declare.Len() == 0 {
		return nil
	}
	if err := s.kernel.Restore(ctx, "*filter\n"+declare.String()+fill.String()+remove.String()+"COMMIT\n"); err != nil {
		return err
	}
	s.chains = next
	return nil
}

// Sync brings the model's changes into the kernels, the one of IPv4 first.
type Sync struct{ syncers []*syncer }

// NewSync makes it for kernels that may hold an earlier life's sets and chains.
func NewSync(kernels ...Kernel) *Sync {
	s := &Sync{}
	for _, k := range kernels {
		s.syncers = append(s.syncers, &syncer{kernel: k})
	}
	return s
}

// Write writes what has changed since the last time.
func (s *Sync) Write(ctx context.Context, m *Model) error {
	for i, t := range m.tables {
		if err := s.syncers[i].sync(ctx, t); err != nil {
			return fmt.Errorf("write network policies: %w", err)
		}
	}
	return nil
}

// Remove takes all sets and chains of a bridge's policies out of the kernel. The
// pod network's own chain must not lead to them any more.
func Remove(ctx context.Context, bridge string, ipv6 bool, k Kernel) error {
	t := newTable(bridge, ipv6)
	s := &syncer{kernel: k}
	if err := s.read(ctx, t); err != nil {
		return fmt.Errorf("remove network policies: %w", err)
	}
	if err := s.write(ctx, t); err != nil {
		return fmt.Errorf("remove network policies: %w", err)
	}
	return nil
}
