package chartrepo_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headway-sh/headway/gitsource/chartrepo"
)

func digest(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

func entry(version, digest, url string) string {
	return fmt.Sprintf("entries:\n  db:\n  - {version: %q, digest: %q, urls: [%q]}\n", version, digest, url)
}

// serve is a repository over https; files change as the test wants.
func serve(t *testing.T, files map[string]string) (*httptest.Server, chartrepo.Repository) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, ok := files[strings.TrimPrefix(r.URL.Path, "/charts/")]
		switch {
		case !ok:
			http.NotFound(w, r)
		case strings.HasPrefix(content, "to "):
			http.Redirect(w, r, content[3:], http.StatusFound)
		default:
			_, _ = w.Write([]byte(content))
		}
	}))
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return server, chartrepo.Repository{URL: server.URL + "/charts", CABundle: string(ca)}
}

// TestRepositories: archives are what the index says, and come from where it
// may lead.
func TestRepositories(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s was asked", r.Host) }))
	defer elsewhere.Close()
	for name, c := range map[string]struct {
		files map[string]string
		want  string // of the error; empty: it comes
	}{
		"relative":          {map[string]string{"index.yaml": entry("1.2.3", digest("db"), "archives/db.tgz"), "archives/db.tgz": "db"}, ""},
		"with v":            {map[string]string{"index.yaml": entry("v1.2.3", "sha256:"+digest("db"), "db.tgz"), "db.tgz": "db"}, ""},
		"another version":   {map[string]string{"index.yaml": entry("1.2.4", digest("db"), "db.tgz"), "db.tgz": "db"}, "db 1.2.3 is not there"},
		"another digest":    {map[string]string{"index.yaml": entry("1.2.3", digest("x"), "db.tgz"), "db.tgz": "db"}, "and index.yaml says"},
		"no digest":         {map[string]string{"index.yaml": entry("1.2.3", "", "db.tgz"), "db.tgz": "db"}, "no SHA-256"},
		"no file":           {map[string]string{"index.yaml": entry("1.2.3", digest("db"), "db.tgz")}, "404"},
		"no index":          {map[string]string{"db-1.2.3.tgz": "db"}, "404"},
		"an index of words": {map[string]string{"index.yaml": "- a"}, "not an index"},
		"too large":         {map[string]string{"index.yaml": strings.Repeat("#", chartrepo.MaxIndex+1)}, "larger than"},
		"leads away":        {map[string]string{"index.yaml": entry("1.2.3", digest("db"), elsewhere.URL+"/db.tgz")}, "only files of the repository's own host"},
		"redirects away":    {map[string]string{"index.yaml": entry("1.2.3", digest("db"), "db.tgz"), "db.tgz": "to " + elsewhere.URL}, "only redirects on the same host"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, r := serve(t, c.files)
			got, err := chartrepo.Open(t.TempDir()).Get(t.Context(), []chartrepo.Repository{r}, "db", "1.2.3")
			if c.want == "" && (err != nil || string(got) != "db") || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
}

// TestDirectories are repositories too, with an index or without; nothing leads
// out of them.
func TestDirectories(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "db.tgz")
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"archives":   {map[string]string{"db-1.2.3.tgz": "db"}, ""},
		"index":      {map[string]string{"index.yaml": entry("1.2.3", digest("db"), "db.tgz"), "db.tgz": "db"}, ""},
		"empty":      {nil, "db 1.2.3 is not there"},
		"leads out":  {map[string]string{"index.yaml": entry("1.2.3", digest("out"), "../../../../../../../"+outside)}, "no such file"},
		"leads away": {map[string]string{"index.yaml": entry("1.2.3", digest("db"), "https://example.org/db.tgz")}, "only files"},
		"links out":  {map[string]string{"index.yaml": entry("1.2.3", digest("out"), "link.tgz")}, "escapes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for file, content := range c.files {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Symlink(outside, filepath.Join(dir, "link.tgz")); err != nil {
				t.Fatal(err)
			}
			for _, url := range []string{dir, "file://" + dir} {
				got, err := chartrepo.Open("").Get(t.Context(), []chartrepo.Repository{{URL: url}}, "db", "1.2.3")
				if c.want == "" && (err != nil || string(got) != "db") || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("%q, %v; want %q", got, err, c.want)
				}
			}
		})
	}
}

// TestKeptCharts: what has come once is there with the repository away, and
// stays what it was; what was damaged comes again, as it was.
func TestKeptCharts(t *testing.T) {
	t.Parallel()
	files := map[string]string{"index.yaml": entry("1.2.3", digest("db"), "db.tgz"), "db.tgz": "db"}
	server, r := serve(t, files)
	dir := t.TempDir()
	get := func() (string, error) {
		got, err := chartrepo.Open(dir).Get(t.Context(), []chartrepo.Repository{{URL: filepath.Join(dir, "none")}, r}, "db", "1.2.3")
		return string(got), err
	}
	for _, change := range []func(){
		func() {},
		func() { files["index.yaml"], files["db.tgz"] = entry("1.2.3", digest("other"), "db.tgz"), "other" },
	} {
		change()
		if got, err := get(); err != nil || got != "db" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	archive := filepath.Join(dir, "archives", digest("db")+".tgz")
	if err := os.WriteFile(archive, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := get(); err == nil || !strings.Contains(err.Error(), "a version never changes") {
		t.Errorf("another archive of the same version: %v", err)
	}
	files["index.yaml"], files["db.tgz"] = entry("1.2.3", digest("db"), "db.tgz"), "db"
	if got, err := get(); err != nil || got != "db" {
		t.Fatalf("%q, %v", got, err)
	}
	server.Close()
	if got, err := get(); err != nil || got != "db" {
		t.Fatalf("with the repository away: %q, %v", got, err)
	}
	if _, err := chartrepo.Open(dir).Get(t.Context(), []chartrepo.Repository{r}, "../x", "1"); err == nil {
		t.Error("a name that leads elsewhere is taken")
	}
}

// TestSlowRepository: who waits for a repository keeps nobody else waiting.
func TestSlowRepository(t *testing.T) {
	t.Parallel()
	asked, answer := make(chan struct{}), make(chan struct{})
	slow := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(asked)
		<-answer
	}))
	defer slow.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: slow.Certificate().Raw})
	_, r := serve(t, map[string]string{"index.yaml": entry("1.2.3", digest("db"), "db.tgz"), "db.tgz": "db"})
	store := chartrepo.Open(t.TempDir())
	waiting, got := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := store.Get(t.Context(), []chartrepo.Repository{{URL: slow.URL, CABundle: string(ca)}}, "db", "1.2.3")
		waiting <- err
	}()
	<-asked
	go func() {
		_, err := store.Get(t.Context(), []chartrepo.Repository{r}, "db", "1.2.3")
		got <- err
	}()
	select {
	case err := <-got:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits for a repository of somebody else")
	}
	close(answer)
	if err := <-waiting; err == nil {
		t.Error("a repository that says nothing has a chart")
	}
}

// TestNamesWithDashes: what is kept of one chart is not taken for another.
func TestNamesWithDashes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.yaml"), []byte(fmt.Sprintf(
		"entries:\n  db:\n  - {version: 1.0.0-2.0.0, digest: %q, urls: [a.tgz]}\n  db-1.0.0:\n  - {version: 2.0.0, digest: %q, urls: [b.tgz]}\n", digest("a"), digest("b"))), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(dir, name+".tgz"), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	store := chartrepo.Open(t.TempDir())
	for _, c := range [][3]string{{"db", "1.0.0-2.0.0", "a"}, {"db-1.0.0", "2.0.0", "b"}} {
		if got, err := store.Get(t.Context(), []chartrepo.Repository{{URL: dir}}, c[0], c[1]); err != nil || string(got) != c[2] {
			t.Errorf("%s %s: %q, %v", c[0], c[1], got, err)
		}
	}
}
