package repo_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headway-sh/headway/gitsource/repo"
)

// TestBlame compares with git's own answer over edits, a merge and a rename.
func TestBlame(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	when := 1_700_000_000
	commit := func(file, content, message string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		when += 60
		git(t, dir, "", "add", "-A")
		git(t, dir, "", "-c", "user.name=J", "-c", "user.email=j@x", "commit", "-q", "--date", strconv.Itoa(when), "-m", message)
	}
	git(t, dir, "", "init", "-q", "-b", "main")
	commit("a.yaml", "one\ntwo\nthree\nfour\nfive\nsix\n", "begin")
	git(t, dir, "", "checkout", "-q", "-b", "side")
	commit("a.yaml", "ONE\ntwo\nthree\nfour\nfive\nsix\n", "the first line")
	git(t, dir, "", "checkout", "-q", "main")
	commit("a.yaml", "one\ntwo\nthree\nfour\nfive\nsix\nseven\n", "one more")
	git(t, dir, "", "merge", "-q", "--no-edit", "side")
	commit("a.yaml", "ONE\ntwo\nnew\nfour\nfive\nsix\nseven", "the third, and no end")
	git(t, dir, "", "mv", "a.yaml", "b.yaml")
	commit("other.yaml", "x\n", "moved")
	commit("b.yaml", "ONE\ntwo\nnew\nfour\nfive\nsix\nseven\neight\n", "the last")

	r := open(t, dir)
	head, err := repo.ParseID(git(t, dir, "", "rev-parse", "HEAD"))
	if err != nil {
		t.Fatal(err)
	}
	lines, err := r.Blame(t.Context(), head, "b.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, c := range lines {
		got = append(got, strings.TrimSpace(c.Message))
	}
	for line := range strings.SplitSeq(git(t, dir, "", "blame", "--line-porcelain", "b.yaml"), "\n") {
		if subject, ok := strings.CutPrefix(line, "summary "); ok {
			want = append(want, subject)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-git +ours):\n%s", diff)
	}
	if _, err := r.Blame(t.Context(), head, "none.yaml"); err == nil {
		t.Error("a file that is not there has lines")
	}
}
