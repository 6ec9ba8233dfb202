package main

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/apiserver"
)

func TestRepositoryURL(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	ok(t, os.Mkdir("host:path", 0o755))
	for text, want := range map[string]string{
		"https://example.org/a.git":  "https://example.org/a.git",
		"ssh://git@example.org/a":    "ssh://git@example.org/a",
		"git@example.org:team/a.git": "ssh://git@example.org/team/a.git",
		"example.org:/srv/git/a.git": "ssh://example.org/srv/git/a.git",
		"/srv/git/a.git":             "/srv/git/a.git",
		"a.git":                      filepath.Join(dir, "a.git"),
		"./x:y":                      filepath.Join(dir, "x:y"),
		"host:path":                  filepath.Join(dir, "host:path"), // which is here
	} {
		got, err := repositoryURL(text)
		ok(t, err)
		if got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
}

func TestGitCredentials(t *testing.T) {
	t.Parallel()
	file := func(content string) string {
		path := filepath.Join(t.TempDir(), "f")
		ok(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	for _, one := range []struct {
		name    string
		options serverOptions
		want    map[string][]byte
		err     bool
	}{
		{"none", serverOptions{}, map[string][]byte{}, false},
		{"token", serverOptions{gitToken: file("secret\n")}, map[string][]byte{"token": []byte("secret")}, false},
		{"ssh", serverOptions{gitKey: file("KEY\n"), gitKnownHosts: file("h k\n")}, map[string][]byte{"identity": []byte("KEY\n"), "known_hosts": []byte("h k\n")}, false},
		{"no such file", serverOptions{gitKey: "/nowhere"}, nil, true},
		{"an empty file", serverOptions{gitToken: file("\n")}, nil, true},
	} {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			got, err := one.options.gitCredentials()
			if (err != nil) != one.err {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(one.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestMainSource follows what the flags name, and what they name at the next
// start.
func TestMainSource(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	api, err := apiserver.Start(ctx, apiserver.Config{DataDir: t.TempDir(), Listen: netip.MustParseAddrPort("127.0.0.1:0"), Logger: slog.New(slog.DiscardHandler)})
	ok(t, err)
	done := make(chan error, 1)
	go func() { done <- api.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		ok(t, <-done)
	})
	key := filepath.Join(t.TempDir(), "key")
	c := api.Peer(apiserver.Masters).Client()
	for _, content := range []string{"first", "second"} {
		ok(t, os.WriteFile(key, []byte(content), 0o600))
		s := &server{api: api, clock: clock.RealClock{}, options: serverOptions{repo: "git@example.org:team/a.git", branch: "live", gitKey: key}}
		ok(t, s.mainSource(ctx))
		var source v1alpha1.GitSource
		ok(t, c.Get(ctx, client.ObjectKey{Name: "main"}, &source))
		if source.Spec.URL != "ssh://git@example.org/team/a.git" || source.Spec.Ref.Branch != "live" || source.Spec.SecretRef == nil {
			t.Fatalf("follows %+v", source.Spec)
		}
		var secret corev1.Secret
		ok(t, c.Get(ctx, client.ObjectKey{Namespace: source.Spec.SecretRef.Namespace, Name: source.Spec.SecretRef.Name}, &secret))
		if got := string(secret.Data["identity"]); got != content {
			t.Errorf("the key is %q, want %q", got, content)
		}
	}
}
