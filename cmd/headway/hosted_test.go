package main

import (
	"context"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/apiserver"
	"github.com/headway-sh/headway/apiserver/authn"
	"github.com/headway-sh/headway/gitsource"
	"github.com/headway-sh/headway/gitsource/hosted"
)

// hosting is a cluster whose server keeps repositories.
type hosting struct {
	t       *testing.T
	api     *apiserver.Server
	client  client.WithWatch
	dataDir string
}

func newHosting(t *testing.T) *hosting {
	t.Helper()
	h := &hosting{t: t, dataDir: t.TempDir()}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	log := slog.New(slog.DiscardHandler)
	started := make(chan struct{})
	serve := hostedRepositories(h.dataDir, func() *apiserver.Server { <-started; return h.api }, log)
	var err error
	h.api, err = apiserver.Start(ctx, apiserver.Config{DataDir: h.dataDir, Listen: netip.MustParseAddrPort("127.0.0.1:0"), Logger: log,
		Routes: map[string]http.Handler{hosted.Prefix: serve}})
	ok(t, err)
	close(started)
	self := authn.ServiceAccount("kube-system", "gitsource")
	engine, err := gitsource.New(gitsource.Config{Txn: h.api.Peer(self).Txn(), Mapper: h.api.Mapper(), Identity: self,
		DataDir: gitDir(h.dataDir), ClusterName: "test", ClusterUID: "u", Clock: clock.RealClock{}, Logger: log})
	ok(t, err)
	done := make(chan error, 1)
	go func() { done <- runAll(ctx, log, []component{{"api", h.api.Run}, {"source", engine.Run}}) }()
	t.Cleanup(func() {
		stop()
		ok(t, <-done)
	})
	h.client = h.api.Peer(apiserver.Masters).Client()
	return h
}

// git runs a git that believes the cluster's authority.
func (h *hosting) git(args ...string) (string, error) {
	h.t.Helper()
	ca := filepath.Join(h.dataDir, "ca-for-git.pem")
	ok(h.t, os.WriteFile(ca, h.api.Authorities().API.PEM, 0o600))
	cmd := exec.CommandContext(h.t.Context(), "git", append([]string{"-c", "user.name=Jane", "-c", "user.email=jane@example.org", "-c", "http.sslCAInfo=" + ca}, args...)...)
	cmd.Dir = h.dataDir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + h.dataDir, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0"}
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (h *hosting) url(name string) string {
	return "https://" + h.api.Address().String() + hosted.Prefix + name
}

// token is one of a service account in the namespace default.
func (h *hosting) token(name string) string {
	h.t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	ok(h.t, h.client.Create(h.t.Context(), account))
	request := &authenticationv1.TokenRequest{}
	ok(h.t, h.client.SubResource("token").Create(h.t.Context(), account, request))
	return request.Status.Token
}

func (h *hosting) await(name string, want func(*v1alpha1.GitSource) bool) {
	h.t.Helper()
	w, err := h.client.Watch(h.t.Context(), &v1alpha1.GitSourceList{})
	ok(h.t, err)
	defer w.Stop()
	until(h.t, w, func(e watch.Event) bool {
		o, is := e.Object.(*v1alpha1.GitSource)
		return is && o.Name == name && want(o)
	})
}

// TestHostedRepository: the server keeps a repository that is pushed to on its
// machine, seen at once, and read over the API's port by who may.
func TestHostedRepository(t *testing.T) {
	t.Parallel()
	h, ctx := newHosting(t), t.Context()
	ok(t, h.client.Create(ctx, &v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Name: "main"}, Spec: v1alpha1.GitSourceSpec{URL: "hosted:shop"}}))
	h.await("main", func(o *v1alpha1.GitSource) bool { return len(o.Status.Conditions) > 0 })
	path := hosted.Path(gitDir(h.dataDir), "hosted:shop")
	_, err := h.git("clone", "-q", path, "work")
	ok(t, err)
	ok(t, os.WriteFile(filepath.Join(h.dataDir, "work", "one.yaml"), []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n"), 0o600))
	for _, args := range [][]string{{"add", "-A"}, {"commit", "-qm", "one"}, {"push", "-q", "origin", "HEAD:main"}} {
		if out, err := h.git(append([]string{"-C", "work"}, args...)...); err != nil {
			t.Fatal(args, err, out)
		}
	}
	h.await("main", func(o *v1alpha1.GitSource) bool { return o.Status.Health == v1alpha1.HealthHealthy })

	ok(t, h.client.Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reads-shop"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{v1alpha1.GroupName}, Resources: []string{"gitsources/repository"}, ResourceNames: []string{"shop"}, Verbs: []string{"get"}},
	}}))
	ok(t, h.client.Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "reads-shop"},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "reads-shop"}, Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "default", Name: "reader"}}}))
	reader, other := h.token("reader"), h.token("other")
	as := func(token string) []string {
		return []string{"-c", "http.extraHeader=Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("any:"+token))}
	}
	certificate, key, err := h.api.Authorities().UserCertificate("root", []string{"system:masters"}, 0)
	ok(t, err)
	crt, pem := filepath.Join(h.dataDir, "root.crt"), filepath.Join(h.dataDir, "root.key")
	ok(t, os.WriteFile(crt, certificate, 0o600))
	ok(t, os.WriteFile(pem, key, 0o600))

	for name, args := range map[string][]string{
		"an account's password":    as(reader),
		"an account's bearer":      {"-c", "http.extraHeader=Authorization: Bearer " + reader},
		"an administrator's files": {"-c", "http.sslCert=" + crt, "-c", "http.sslKey=" + pem},
	} {
		dir := filepath.Join(t.TempDir(), "clone")
		if out, err := h.git(append(args, "clone", "-q", h.url("shop"), dir)...); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, "one.yaml")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if out, err := h.git("-C", dir, "log", "-1", "--format=%s", "origin/headway/test"); err != nil || !strings.HasPrefix(out, "main: Synced, Healthy") {
			t.Errorf("%s: the report is %q, %v", name, out, err)
		}
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"nobody":            {[]string{"ls-remote", h.url("shop")}, "could not read Username"},
		"another account":   {append(as(other), "ls-remote", h.url("shop")), "403"},
		"another name":      {append(as(reader), "ls-remote", h.url("other")), "403"},
		"a wrong token":     {append(as("x"), "ls-remote", h.url("shop")), "could not read Username"},
		"a push over https": {append(as(reader), "-C", "work", "push", h.url("shop"), "HEAD:more"), "push on the server's machine, to " + path},
	} {
		if out, err := h.git(c.args...); err == nil || !strings.Contains(out, c.want) {
			t.Errorf("%s: %v, without %q\n%s", name, err, c.want, out)
		}
	}
}
