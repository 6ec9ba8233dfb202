package e2e_test

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// traces are what a cluster may leave on a machine.
type traces struct {
	Rules, Links, Routes, Mounts, Processes []string
}

// traces looks at the machine. Of what other programs do meanwhile as little
// as possible is seen: processes and mounts count when they name the data
// directory.
func (m *machine) traces() traces {
	m.t.Helper()
	lines := func(name string, args ...string) []string {
		out, err := exec.CommandContext(m.t.Context(), name, args...).Output()
		if err != nil {
			m.t.Fatalf("%s: %v", name, err)
		}
		return strings.Split(strings.TrimSpace(string(out)), "\n")
	}
	ours := func(all []string) []string {
		return slices.DeleteFunc(all, func(line string) bool { return !strings.Contains(line, m.data) })
	}
	links := lines("ip", "-o", "link")
	for i, line := range links {
		links[i] = strings.SplitN(line, ":", 3)[1]
	}
	return traces{
		Rules: rules(lines("iptables-save")), Links: links, Routes: lines("ip", "route"),
		Mounts: ours(lines("cat", "/proc/self/mountinfo")), Processes: ours(lines("ps", "-eo", "args")),
	}
}

var counters = regexp.MustCompile(`\[\d+:\d+\]`)

// rules leaves out counters, comments and tables without a rule: the kernel
// makes an empty table when somebody asks for it first, and it does nothing.
func rules(saved []string) []string {
	var all, table []string
	for _, line := range saved {
		switch line = strings.TrimSpace(counters.ReplaceAllString(line, "")); {
		case line == "", strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "*"):
			table = []string{line}
		case line == "COMMIT":
			if slices.ContainsFunc(table, func(l string) bool {
				return strings.HasPrefix(l, "-") || strings.HasPrefix(l, ":") && !strings.HasSuffix(l, " ACCEPT")
			}) {
				all = append(all, table...)
			}
		default:
			table = append(table, line)
		}
	}
	return all
}

func (before traces) compare(t *testing.T, after traces) {
	t.Helper()
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the machine is not as it was (-before +after):\n%s", diff)
	}
}
