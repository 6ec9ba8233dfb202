package repo_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headway-sh/headway/gitsource/repo"
	"github.com/headway-sh/headway/internal/gittest"
)

// BenchmarkPoll asks a remote of 10 branches and 50,000 pull requests, of which
// nothing has moved, in both versions of git's protocol.
func BenchmarkPoll(b *testing.B) {
	for name, old := range map[string]bool{"version 0": true, "version 2": false} {
		b.Run(name, func(b *testing.B) {
			root := b.TempDir()
			bare := filepath.Join(root, "remote.git")
			git(b, root, "", "init", "-q", "--bare", "-b", "main", bare)
			tree := git(b, bare, "", "write-tree")
			id := git(b, bare, "", "-c", "user.name=J", "-c", "user.email=j@x", "commit-tree", "-m", "x", tree)
			var packed strings.Builder
			packed.WriteString("# pack-refs with: peeled fully-peeled sorted \n")
			for n := range 10 {
				fmt.Fprintf(&packed, "%s refs/heads/b%d\n", id, n)
			}
			fmt.Fprintf(&packed, "%s refs/heads/main\n", id)
			for n := range 50_000 {
				fmt.Fprintf(&packed, "%s refs/pull/%05d/head\n", id, n)
			}
			if err := os.WriteFile(filepath.Join(bare, "packed-refs"), []byte(packed.String()), 0o600); err != nil {
				b.Fatal(err)
			}
			server := gittest.New(b, root)
			if old {
				server.Old()
			}
			mirror, err := repo.OpenMirror(filepath.Join(b.TempDir(), "mirror.git"))
			if err != nil {
				b.Fatal(err)
			}
			defer mirror.Close()
			from := repo.Remote{URL: server.HTTPS("remote.git"), Token: gittest.Token, CABundle: server.CA}
			if _, err := mirror.Fetch(b.Context(), from); err != nil {
				b.Fatal(err)
			}
			server.Sent()
			b.ReportAllocs()
			for b.Loop() {
				if moved, err := mirror.Fetch(b.Context(), from); moved || err != nil {
					b.Fatal(moved, err)
				}
			}
			b.ReportMetric(float64(server.Sent())/float64(b.N), "wire-B/op")
		})
	}
}
