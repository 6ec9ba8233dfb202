package hosted_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headway-sh/headway/gitsource/hosted"
)

// rig is a hosted repository with a clone that pushes to it on the machine.
type rig struct {
	t      *testing.T
	dir    string
	server *httptest.Server
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir()}
	r.server = httptest.NewServer(hosted.New(hosted.Config{
		Dir: r.dir, Logger: slog.New(slog.DiscardHandler),
		Identify: func(q *http.Request) (string, bool) {
			user, ok := map[string]string{"Bearer jane's": "jane", "Bearer bob's": "bob"}[q.Header.Get("Authorization")]
			return user, ok
		},
		May: func(q *http.Request, name string) bool {
			return name == "shop" && q.Header.Get("Authorization") == "Bearer jane's"
		},
	}))
	t.Cleanup(r.server.Close)
	r.git(r.dir, "init", "-q", "--bare", "-b", "main", "shop.git")
	r.git(r.dir, "clone", "-q", "shop.git", "work")
	return r
}

func (r *rig) try(dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(r.t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=J", "GIT_AUTHOR_EMAIL=j@x", "GIT_COMMITTER_NAME=J", "GIT_COMMITTER_EMAIL=j@x"}
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (r *rig) git(dir string, args ...string) string {
	r.t.Helper()
	out, err := r.try(dir, args...)
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (r *rig) work() string { return filepath.Join(r.dir, "work") }

// commit makes commits that change a file, and pushes them on the machine.
func (r *rig) commit(n int) {
	r.t.Helper()
	for i := range n {
		content := strings.Repeat(fmt.Sprintf("line %d of %s\n", i, r.git(r.work(), "rev-list", "--count", "--all")), 200)
		if err := os.WriteFile(filepath.Join(r.work(), "file"), []byte(content), 0o644); err != nil {
			r.t.Fatal(err)
		}
		r.git(r.work(), "add", "-A")
		r.git(r.work(), "commit", "-q", "-m", fmt.Sprint(i))
	}
	r.git(r.work(), "push", "-q", "origin", "--all")
	r.git(r.work(), "push", "-q", "origin", "--tags")
}

func (r *rig) url(token string) string {
	return strings.Replace(r.server.URL, "http://", "http://any:"+token+"@", 1) + hosted.Prefix + "shop"
}

// TestGitReads: an unmodified git clones, fetches what is new and only that, and
// sees the same as on the machine.
func TestGitReads(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"0", "2"} {
		t.Run("version "+version, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			empty := r.git(r.dir, "-c", "protocol.version="+version, "clone", "-q", r.url("jane's"), "early")
			if !strings.Contains(empty, "empty repository") {
				t.Errorf("an empty repository is cloned with %q", empty)
			}
			r.commit(12)
			r.git(r.work(), "tag", "-a", "-m", "one", "v1")
			r.git(r.work(), "checkout", "-q", "-b", "side")
			r.commit(3)
			r.git(r.dir, "-c", "protocol.version="+version, "clone", "-q", r.url("jane's"), "copy")
			copied := filepath.Join(r.dir, "copy")
			r.git(copied, "fsck", "--strict")
			same := func() {
				t.Helper()
				for _, ref := range []string{"main", "side"} {
					if got, want := r.git(copied, "rev-parse", "origin/"+ref), r.git(r.work(), "rev-parse", ref); got != want {
						t.Errorf("%s is %s, want %s", ref, got, want)
					}
				}
			}
			same()
			if head := r.git(copied, "symbolic-ref", "refs/remotes/origin/HEAD"); head != "refs/remotes/origin/main" {
				t.Errorf("HEAD is %s", head)
			}
			r.git(copied, "rev-parse", "v1^{commit}")
			for range 3 {
				r.commit(2)
				before := r.git(copied, "count-objects", "-v")
				r.git(copied, "-c", "protocol.version="+version, "-c", "fetch.unpackLimit=100000", "fetch", "-q")
				same()
				r.git(copied, "fsck", "--strict")
				if got := loose(r.git(copied, "count-objects", "-v")) - loose(before); got != 6 {
					t.Errorf("%d objects came for two commits", got)
				}
			}
			// With commits of its own, of which the server knows nothing.
			r.git(copied, "checkout", "-q", "side")
			for i := range 40 {
				r.git(copied, "commit", "-q", "--allow-empty", "-m", fmt.Sprint("own ", i))
			}
			r.commit(1)
			r.git(copied, "-c", "protocol.version="+version, "fetch", "-q")
			same()
			r.git(copied, "-c", "protocol.version="+version, "fetch", "-q") // nothing is new
			r.git(r.dir, "-c", "protocol.version="+version, "clone", "-q", "--single-branch", "-b", "side", r.url("jane's"), "part")
		})
	}
}

func loose(counts string) (n int) {
	for line := range strings.Lines(counts) {
		if _, err := fmt.Sscanf(line, "count: %d", &n); err == nil {
			return n
		}
	}
	return 0
}

// TestRefusals: who may not, and what is not served, is said in git's own
// output.
func TestRefusals(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.commit(2)
	base := r.server.URL + hosted.Prefix
	as := func(token, name string) string {
		return strings.Replace(base, "http://", "http://any:"+token+"@", 1) + name
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"nobody":            {[]string{"ls-remote", base + "shop"}, "could not read Username"},
		"a wrong token":     {[]string{"ls-remote", as("other", "shop")}, "Authentication failed"},
		"without the right": {[]string{"ls-remote", as("bob's", "shop")}, "403"},
		"what is not there": {[]string{"ls-remote", as("jane's", "other")}, "403"},
		"another place":     {[]string{"ls-remote", as("jane's", "..%2fshop")}, "not found"},
		"shallow":           {[]string{"clone", "-q", "--depth=1", as("jane's", "shop"), "shallow"}, "does not support shallow"},
		"a push":            {[]string{"-C", "work", "push", as("jane's", "shop"), "main:other"}, "push on the server's machine, to " + filepath.Join(r.dir, "shop.git")},
	} {
		out, err := r.try(r.dir, c.args...)
		if err == nil || !strings.Contains(out, c.want) {
			t.Errorf("%s: %v, without %q\n%s", name, err, c.want, out)
		}
	}
	if out := r.git(r.dir, "-C", "shop.git", "for-each-ref", "--format=%(refname)"); out != "refs/heads/main" {
		t.Errorf("references are %q", out)
	}
}

// TestHostileRequests: each gets an answer, and none much of the server.
func TestHostileRequests(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.commit(1)
	head := r.git(r.work(), "rev-parse", "HEAD")
	tree := r.git(r.work(), "rev-parse", "HEAD^{tree}")
	want := "0032want " + head + "\n"
	for name, c := range map[string]struct {
		body, kind, encoding string
		status               int
	}{
		"nothing":              {"", "", "", 400},
		"a flush":              {"0000", "", "", 400},
		"another kind":         {want + "00000009done\n", "text/plain", "", 400},
		"an unknown object":    {"0032want " + strings.Repeat("1", 40) + "\n00000009done\n", "", "", 400},
		"what has no name":     {"0032want " + tree + "\n00000009done\n", "", "", 400},
		"a length of nonsense": {"zzzzwant", "", "", 400},
		"a length of three":    {"0003", "", "", 400},
		"a length too long":    {"fff5" + strings.Repeat("x", 0xfff1), "", "", 400},
		"cut short":            {"0032want " + head[:10], "", "", 400},
		"deepen":               {want + "000cdeepen 10000", "", "", 400},
		"no end":               {strings.Repeat(want, 30_000), "", "", 400},
		"endless haves":        {want + "0000" + strings.Repeat("0032have "+strings.Repeat("2", 40)+"\n", 20_900), "", "", 400},
		"no gzip":              {want, "", "gzip", 400},
		"another encoding":     {want, "", "br", 400},
		"no end of talk":       {want + "0000", "", "", 200},
		"well":                 {want + "00000009done\n", "", "", 200},
	} {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.server.URL+hosted.Prefix+"shop/git-upload-pack", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Authorization", "Bearer jane's")
		q.Header.Set("Content-Type", "application/x-git-upload-pack-request")
		if c.kind != "" {
			q.Header.Set("Content-Type", c.kind)
		}
		q.Header.Set("Content-Encoding", c.encoding)
		res, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_ = res.Body.Close()
		if res.StatusCode != c.status {
			t.Errorf("%s: %d, want %d", name, res.StatusCode, c.status)
		}
	}
}

func FuzzRequest(f *testing.F) {
	id := strings.Repeat("1", 40)
	f.Add([]byte("0032want " + id + "\n00000032have " + id + "\n00000009done\n"))
	f.Add([]byte("0040want " + id + " side-band-64k\n0000"))
	f.Add([]byte("ffffx"))
	f.Fuzz(func(t *testing.T, body []byte) {
		wants, err := hosted.Parse(body)
		if err == nil && (wants == 0 || wants > bytes.Count(body, []byte("want "))) {
			t.Errorf("%d wants of %q", wants, body)
		}
	})
}
