package repo_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/repo"
	"github.com/headway-sh/headway/internal/gittest"
)

func pkt(text string) string { return fmt.Sprintf("%04x%s", len(text)+4, text) }

var honest = pkt("version 2\n") + pkt("agent=git/2\n") + pkt("ls-refs=unborn\n") + pkt("fetch=shallow\n") + "0000"

// TestHostileVersion2: a remote that says in version 2 what it should not is an
// error that says so, and nothing moves.
func TestHostileVersion2(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("a", 40)
	r := newRemote(t)
	head := r.push(t, "first")
	r.fetch(t, r.https())
	for _, c := range []struct{ name, server, answer, want string }{
		{"knows no commands", pkt("version 2\n") + pkt("server-option\n") + "0000", "", "without ls-refs"},
		{"has sha256 objects", pkt("version 2\n") + pkt("ls-refs\n") + pkt("fetch\n") + pkt("object-format=sha256\n") + "0000", "", "only sha1"},
		{"never ends its capabilities", pkt("version 2\n") + strings.Repeat(pkt("x\n"), 5000) + "0000", "", "too much of itself"},
		{"is cut off", pkt("version 2\n") + pkt("ls-refs\n"), "", "unexpected EOF"},
		{"answers nothing", honest, "", "unexpected EOF"},
		{"answers no packets", honest, "<html>hello", "does not speak git's protocol"},
		{"refuses", honest, pkt("ERR not for\x00 you\n"), `the remote says "not for`},
		{"lists no ids", honest, pkt("x refs/heads/main\n") + "0000", "list of references"},
		{"lists no names", honest, pkt(id+"\n") + "0000", "list of references"},
		{"lists in parts", honest, pkt(id+" refs/heads/main\n") + "0001" + "0000", "list of references"},
		{"sends a packet that is too large", honest, "fffe" + id, "packet of 65534 bytes"},
		{"sends a packet that is cut off", honest, "0040" + id, "unexpected EOF"},
		{"floods references", honest, strings.Repeat(pkt(id+" refs/heads/"+strings.Repeat("x", 8000)+"\n"), 200), "over 1048576 bytes"},
		{"has too many references", honest, many(id, 2000), "more than 1000 references"},
		{"names what is not there", honest, pkt(id+" refs/heads/main\n") + "0000", "where a pack was asked for"},
		{"has become empty", honest, "0000", "has become empty"},
		{"names only what leads out", honest, pkt(id+" refs/heads/../../x\n") + pkt(id+" HEAD symref-target:refs/heads/../x\n") + "0000", "has become empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.server.Break(gittest.Version2(c.server, c.answer))
			from := r.https()
			from.Limits = repo.Limits{RefBytes: 1 << 20, Refs: 1000}
			_, err := r.mirror.Fetch(t.Context(), from)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the fetch says %v, want %q", err, c.want)
			}
			r.isAt(t, head)
		})
	}
}

func many(id string, n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(pkt(fmt.Sprintf("%s refs/heads/b%d\n", id, i)))
	}
	return b.String() + "0000"
}

// TestWantedRefs: beside branches and tags a mirror has what is asked for, in
// both versions of the protocol, and no longer when it is not.
func TestWantedRefs(t *testing.T) {
	t.Parallel()
	for _, old := range []bool{false, true} {
		t.Run(fmt.Sprintf("version 0 only %t", old), func(t *testing.T) {
			t.Parallel()
			r := newRemote(t)
			if old {
				r.server.Old()
			}
			head := r.push(t, "first")
			for _, name := range []string{"refs/pull/1/head", "refs/pull/1/merge", "refs/merge-requests/2/head", "refs/odd/one", "refs/tags/v1", "refs/heads/topic"} {
				git(t, r.bare(), "", "update-ref", name, head)
			}
			for _, c := range []struct {
				patterns []string
				want     string
			}{
				{nil, "refs/heads/main refs/heads/topic refs/tags/v1"},
				{[]string{"refs/pull/*/head"}, "refs/heads/main refs/heads/topic refs/pull/1/head refs/tags/v1"},
				{[]string{"refs/odd/one", "refs/pull/1/*"}, "refs/heads/main refs/heads/topic refs/odd/one refs/pull/1/head refs/pull/1/merge refs/tags/v1"},
				{[]string{"refs/heads/top*", "HEAD", "x"}, "refs/heads/main refs/heads/topic refs/tags/v1"},
			} {
				from := r.https()
				from.Refs = c.patterns
				r.fetch(t, from)
				got := git(t, r.mirrorDir(), "", "for-each-ref", "--format=%(refname)")
				if got = strings.Join(strings.Fields(got), " "); got != c.want {
					t.Errorf("with %q the mirror has %s", c.patterns, got)
				}
			}
			if _, id, err := r.mirror.Resolve(v1alpha1.GitReference{}); err != nil || id.String() != head {
				t.Errorf("HEAD is %s, %v", id, err)
			}
		})
	}
}

// FuzzVersion2 reads whatever a remote may say.
func FuzzVersion2(f *testing.F) {
	id := strings.Repeat("a", 40)
	f.Add([]byte(honest + pkt(id+" HEAD symref-target:refs/heads/main\n") + pkt(id+" refs/heads/main\n") + "0000" + pkt("packfile\n")))
	f.Add([]byte(pkt("# service=git-upload-pack\n") + "0000" + honest + pkt("unborn HEAD symref-target:refs/heads/x\n") + "0000"))
	f.Add([]byte("0000"))
	f.Add([]byte(pkt("# service=git-upload-pack\n") + "000"))
	f.Fuzz(func(t *testing.T, said []byte) {
		const most = 50
		if n := repo.ReadVersion2(bytes.NewReader(said), most); n > most {
			t.Errorf("%d references of at most %d", n, most)
		}
	})
}
