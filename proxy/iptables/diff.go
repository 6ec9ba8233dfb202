package iptables

import (
	"maps"
	"slices"
	"strings"
)

// Diff gives the input for iptables-restore --noflush that turns have into
// want: changed chains whole, nothing else; empty when nothing differs. Chains
// that are gone are emptied and deleted in the same commit.
func Diff(have, want Ruleset) string {
	var out strings.Builder
	for _, table := range slices.Sorted(maps.Keys(want)) {
		diffTable(&out, table, have[table], want[table])
	}
	return out.String()
}

func diffTable(out *strings.Builder, table string, have, want map[string][]Rule) {
	var changed, gone []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if old, ok := have[name]; !ok || !slices.Equal(old, want[name]) {
			changed = append(changed, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if _, ok := want[name]; !ok {
			gone = append(gone, name)
		}
	}
	if len(changed)+len(gone) == 0 {
		return
	}
	out.WriteString("*" + table + "\n")
	// Declaring a chain makes it when it is not there and empties it otherwise.
	for _, name := range slices.Concat(changed, gone) {
		out.WriteString(":" + name + " - [0:0]\n")
	}
	for _, name := range changed {
		for _, r := range want[name] {
			out.WriteString("-A " + name + " " + r.String() + "\n")
		}
	}
	for _, name := range gone {
		out.WriteString("-X " + name + "\n")
	}
	out.WriteString("COMMIT\n")
}
