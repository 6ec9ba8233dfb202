package laws_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// maxLines is where a file has become two things.
const maxLines = 600

var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

func TestFilesStaySmall(t *testing.T) {
	t.Parallel()
	for _, name := range tracked(t, "*.go") {
		text := read(t, name)
		if lines := bytes.Count(text, []byte("\n")); lines > maxLines && !generated.Match(text) {
			t.Errorf("%s has %d lines, more than %d: it is two things, or a table that wants a file of its own", name, lines, maxLines)
		}
	}
}

// A package says what it is for.
func TestPackagesAreDocumented(t *testing.T) {
	t.Parallel()
	comment := regexp.MustCompile(`(?m)^(// (Package|Command|The program) |/\*)`)
	documented := map[string]bool{}
	for _, name := range tracked(t, "*.go") {
		dir := filepath.Dir(name)
		if strings.HasSuffix(name, "_test.go") || strings.Contains(name, "testdata/") {
			continue
		}
		documented[dir] = documented[dir] || comment.Match(read(t, name))
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s has no package comment: one sentence says what its noun is", dir)
		}
	}
}

// The Makefile is an index, not a program.
func TestMakefileStaysSmall(t *testing.T) {
	t.Parallel()
	text := read(t, "Makefile")
	if lines := bytes.Count(text, []byte("\n")); lines > 100 {
		t.Errorf("the Makefile has %d lines: what is longer than a line goes to hack/", lines)
	}
	for _, target := range strings.Fields("up down build test test-race e2e bench lint verify update fuzz") {
		if !regexp.MustCompile(`(?m)^` + target + `:.* ## .`).Match(text) {
			t.Errorf("make help does not list %q", target)
		}
	}
}

func tracked(t *testing.T, pattern string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "--", pattern)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("not in a git repository: %v", err)
	}
	return strings.Fields(string(out))
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", name))
	if os.IsNotExist(err) {
		return nil // deleted and not committed yet
	}
	if err != nil {
		t.Fatal(err)
	}
	return text
}
