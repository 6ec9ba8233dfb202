package repo_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/repo"
	"github.com/headway-sh/headway/internal/gittest"
)

// remote is a served repository, a clone of it to push from, and a mirror.
type remote struct {
	server *gittest.Server
	root   string
	work   string
	mirror *repo.Repository
}

func newRemote(t *testing.T) *remote {
	t.Helper()
	r := &remote{root: t.TempDir(), work: newRepo(t)}
	git(t, r.root, "", "init", "-q", "--bare", "-b", "main", "remote.git")
	r.server = gittest.New(t, r.root)
	var err error
	if r.mirror, err = repo.OpenMirror(filepath.Join(t.TempDir(), "mirror.git")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.mirror.Close() })
	return r
}

func (r *remote) bare() string { return filepath.Join(r.root, "remote.git") }

func (r *remote) https() repo.Remote {
	return repo.Remote{URL: r.server.HTTPS("remote.git"), Token: gittest.Token, CABundle: r.server.CA}
}

func (r *remote) ssh() repo.Remote {
	return repo.Remote{URL: r.server.SSH("remote.git"), Identity: r.server.Identity, KnownHosts: r.server.KnownHosts}
}

// push commits and pushes, and gives the commit.
func (r *remote) push(t *testing.T, message string) string {
	t.Helper()
	git(t, r.work, "", "commit", "-q", "--allow-empty", "-m", message)
	git(t, r.work, "", "push", "-q", "--force", r.bare(), "main")
	return git(t, r.work, "", "rev-parse", "HEAD")
}

func (r *remote) fetch(t *testing.T, from repo.Remote) bool {
	t.Helper()
	moved, err := r.mirror.Fetch(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	return moved
}

func (r *remote) isAt(t *testing.T, want string) {
	t.Helper()
	if _, id, err := r.mirror.Resolve(v1alpha1.GitReference{}); err != nil || id.String() != want {
		t.Fatalf("the mirror is at %s, %v; want %s", id, err, want)
	}
}

// TestRemote goes both ways over both transports.
func TestRemote(t *testing.T) {
	t.Parallel()
	for name, via := range map[string]func(*remote) repo.Remote{
		"https": (*remote).https, "ssh": (*remote).ssh,
		"https, version 0": func(r *remote) repo.Remote {
			r.server.Old()
			return r.https()
		},
		"ssh, version 0": func(r *remote) repo.Remote {
			r.server.Old()
			return r.ssh()
		},
		"bearer": func(r *remote) repo.Remote {
			m := r.https()
			m.Token, m.BearerToken = "", gittest.Token
			return m
		},
		"basic": func(r *remote) repo.Remote {
			m := r.https()
			m.Token, m.Username, m.Password = "", "jane", gittest.Token
			return m
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRemote(t)
			from := via(r)
			if r.fetch(t, from) {
				t.Fatal("an empty repository has moved something")
			}
			if _, _, err := r.mirror.Resolve(v1alpha1.GitReference{}); !errors.Is(err, repo.ErrEmpty) {
				t.Fatalf("an empty repository: %v", err)
			}
			head := r.push(t, "first")
			if !r.fetch(t, from) {
				t.Fatal("the first commit has moved nothing")
			}
			r.isAt(t, head)
			if r.fetch(t, from) {
				t.Fatal("nothing new has moved something")
			}
			head = r.push(t, "second")
			r.fetch(t, from)
			r.isAt(t, head)
			r.reports(t, from)
		})
	}
}

// reports writes a commit into the mirror and pushes it.
func (r *remote) reports(t *testing.T, to repo.Remote) {
	t.Helper()
	id, err := r.mirror.Write(repo.NewCommit{Files: map[string][]byte{"STATUS.md": []byte("x")}, Name: "h", Email: "h@x", Time: time.Unix(1e9, 0), Message: "m"})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.mirror.Update("refs/heads/headway/x", repo.ID{}, id); err != nil {
		t.Fatal(err)
	}
	if err := r.mirror.Push(t.Context(), to, "refs/heads/headway/x"); err != nil {
		t.Fatal(err)
	}
	if got := git(t, r.bare(), "", "rev-parse", "headway/x"); got != id.String() {
		t.Fatalf("the remote has %s, want %s", got, id)
	}
}

// TestMirrorFollows has branches replaced by directories of branches and back,
// deleted, and rewritten.
func TestMirrorFollows(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	r.push(t, "first")
	for _, refs := range [][]string{{"env"}, {"env/prod/eu", "env/test"}, {"env"}, {}} {
		for _, old := range strings.Fields(git(t, r.bare(), "", "for-each-ref", "--format=%(refname)", "refs/heads/env", "refs/heads/env/**")) {
			git(t, r.bare(), "", "update-ref", "-d", old)
		}
		for _, name := range refs {
			git(t, r.bare(), "", "branch", name, "main")
		}
		r.fetch(t, r.https())
		for _, name := range []string{"env", "env/prod/eu", "env/test"} {
			_, _, err := r.mirror.Resolve(v1alpha1.GitReference{Branch: name})
			if wanted := strings.Contains(" "+strings.Join(refs, " ")+" ", " "+name+" "); wanted != (err == nil) {
				t.Errorf("with branches %v, %s: %v", refs, name, err)
			}
		}
	}
	git(t, r.work, "", "commit", "-q", "--amend", "--allow-empty", "-m", "rewritten")
	head := r.push(t, "on top")
	r.fetch(t, r.https())
	r.isAt(t, head)
}

// TestHostileRemote: whatever a remote does, a fetch ends with an error that
// says why, takes little memory, and the mirror stays as it was; once the
// remote behaves, all is well again (threat 5). It is not parallel, because it
// looks at what is allocated.
func TestHostileRemote(t *testing.T) {
	for _, old := range []bool{false, true} {
		r := newRemote(t)
		if old {
			r.server.Old()
		}
		t.Run(fmt.Sprintf("version 0 only %t", old), r.hostile)
	}
}

func (r *remote) hostile(t *testing.T) {
	first := r.push(t, "first")
	r.fetch(t, r.https())
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		t.Errorf("%s was asked, with %q", req.Host, req.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	limits := repo.Limits{Stall: 2 * time.Second, RefBytes: 1 << 20, Timeout: 20 * time.Second}
	for _, c := range []struct {
		name  string
		fault gittest.Fault
		want  string
	}{
		{"stalls", gittest.Stall, "stalls"},
		{"floods references", gittest.RefFlood, "over 1048576 bytes"},
		{"truncates", gittest.Truncate(150), "EOF|there is none"}, // where it falls depends on how much the remote says first,
		{"claims 4 GiB", gittest.Bomb(4<<30, 1<<20), "object of 4294967296 bytes (limit 67108864)"},
		{"inflates to more than it claims", gittest.Bomb(100, 64<<20), "size"},
		{"redirects to another host", gittest.Redirect(elsewhere.URL), "only redirects on the same host"},
		{"redirects to plain http", gittest.Redirect("http://" + strings.TrimPrefix(r.server.HTTPS(""), "https://")), "http"},
		{"is away", gittest.Away, "502"},
		{"answers for ever", forever, "over 1048576 bytes"},
		{"has become empty", gittest.Empty, "has become empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			head := r.push(t, c.name)
			r.server.Break(c.fault)
			from := r.https()
			from.Limits = limits
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := r.mirror.Fetch(t.Context(), from)
			runtime.ReadMemStats(&after)
			if err == nil || !slices.ContainsFunc(strings.Split(c.want, "|"), func(want string) bool { return strings.Contains(err.Error(), want) }) {
				t.Errorf("the fetch says %v, want %q", err, c.want)
			}
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<20 {
				t.Errorf("it took %d MiB", grown>>20)
			}
			if left, _ := filepath.Glob(filepath.Join(r.mirrorDir(), "objects/pack/tmp_*")); len(left) > 0 {
				t.Errorf("it left %v", left)
			}
			r.isAt(t, first)
			r.server.Break(nil)
			r.fetch(t, r.https())
			r.isAt(t, head)
			first = head
		})
	}
}

func (r *remote) mirrorDir() string {
	dir, _ := r.mirror.Dirs()
	return dir
}

// forever is lines of comment without end.
func forever(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	_, err := io.WriteString(w, "001e# service=git-upload-pack\n0000")
	line := strings.Repeat("a", 40) + " HEAD\x00" + strings.Repeat("x", 8000) + "\n"
	for err == nil && r.Context().Err() == nil {
		_, err = fmt.Fprintf(w, "%04x%s", len(line)+4, line)
		line = strings.Repeat("b", 40) + " refs/heads/" + strings.Repeat("x", 8000) + "\n"
	}
}

// TestRetryAfter: a busy remote is believed as to how long it wants quiet.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	for header, want := range map[string]time.Duration{"17": 17 * time.Second, "": 0, "x": 0, "-3": 0, "999999": time.Hour} {
		r.server.Break(gittest.Busy(header))
		_, err := r.mirror.Fetch(t.Context(), r.https())
		var later *repo.LaterError
		if !errors.As(err, &later) || later.After != want {
			t.Errorf("Retry-After %q: %v", header, err)
		}
	}
}

// TestRefusedRemotes have something wrong from the beginning.
func TestRefusedRemotes(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	head := r.push(t, "first")
	r.fetch(t, r.https())
	other := newRemote(t)
	for name, c := range map[string]struct {
		from   func() repo.Remote
		change func(*repo.Remote)
		want   string
	}{
		"wrong token":        {r.https, func(m *repo.Remote) { m.Token = "x" }, "authentication required"},
		"unknown authority":  {r.https, func(m *repo.Remote) { m.CABundle = nil }, "certificate"},
		"broken authority":   {r.https, func(m *repo.Remote) { m.CABundle = []byte("x") }, "not PEM"},
		"no such repository": {r.https, func(m *repo.Remote) { m.URL = r.server.HTTPS("none.git") }, "not found"},
		"file transport":     {r.https, func(m *repo.Remote) { m.URL = "file://" + r.bare() }, "only https and ssh"},
		"git transport":      {r.https, func(m *repo.Remote) { m.URL = "git://localhost/x" }, "only https and ssh"},
		"broken proxy":       {r.https, func(m *repo.Remote) { m.Proxy = "://jane:secret@x" }, "proxy"},
		"half a certificate": {r.https, func(m *repo.Remote) { m.ClientCert = []byte("x") }, "client certificate"},
		"unknown host": {r.ssh, func(m *repo.Remote) {
			m.KnownHosts = []byte("example.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGNU1Cbm5SjYHXMKF2xXC6E6fHFCtNMCnNbyDZ3S3nQp\n")
		}, "known_hosts has no key"},
		"another host's key": {r.ssh, func(m *repo.Remote) { m.KnownHosts = sameHost(r.server.KnownHosts, other.server.KnownHosts) }, "somebody else answers"},
		"broken known_hosts": {r.ssh, func(m *repo.Remote) { m.KnownHosts = []byte("x") }, "known_hosts"},
		"unknown key":        {r.ssh, func(m *repo.Remote) { m.Identity = other.server.Identity }, "unable to authenticate"},
		"no key":             {r.ssh, func(m *repo.Remote) { m.Identity = nil }, "identity"},
		"broken key":         {r.ssh, func(m *repo.Remote) { m.Identity = []byte("x") }, "private key"},
		"nothing over ssh":   {r.ssh, func(m *repo.Remote) { m.URL = r.server.SSH("none.git") }, "does not appear to be a git repository"},
		"http proxy for ssh": {r.ssh, func(m *repo.Remote) { m.Proxy = "http://localhost:1" }, "socks5"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from := c.from()
			c.change(&from)
			_, err := r.mirror.Fetch(t.Context(), from)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("the fetch says %v, want %q", err, c.want)
			}
			r.isAt(t, head)
		})
	}
}

// sameHost gives the hosts of one line with the key of another.
func sameHost(hosts, keys []byte) []byte {
	name, _, _ := strings.Cut(string(hosts), " ")
	_, key, _ := strings.Cut(string(keys), " ")
	return []byte(name + " " + key)
}

// TestSSHFaults: what stalls or floods over ssh ends as over https.
func TestSSHFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault func(context.Context, gittest.Channel)
		want  string
	}{
		"stalls": {func(ctx context.Context, _ gittest.Channel) { <-ctx.Done() }, "stalls"},
		"floods": {func(ctx context.Context, c gittest.Channel) {
			_, err := io.WriteString(c, "0040"+strings.Repeat("a", 40)+" refs/heads/aaaaa\x00 \n")
			for err == nil && ctx.Err() == nil {
				if _, err = io.WriteString(c, "003e"+strings.Repeat("a", 40)+" refs/heads/aaaaa\n"); err != nil {
					return
				}
			}
		}, "too large"},
		"hangs up": {func(context.Context, gittest.Channel) {}, "ended the conversation"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRemote(t)
			head := r.push(t, "first")
			r.fetch(t, r.ssh())
			r.server.BreakSSH(c.fault)
			from := r.ssh()
			from.Limits = repo.Limits{Stall: 300 * time.Millisecond, RefBytes: 1 << 20}
			if _, err := r.mirror.Fetch(t.Context(), from); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the fetch says %v, want %q", err, c.want)
			}
			r.isAt(t, head)
		})
	}
}

// TestMirrorStartsClean: what a fetch left that was killed does not stay.
func TestMirrorStartsClean(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	left := filepath.Join(r.mirrorDir(), "objects/pack/tmp_pack_123")
	if err := os.WriteFile(left, []byte("PACK"), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := repo.OpenMirror(r.mirrorDir())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
}
