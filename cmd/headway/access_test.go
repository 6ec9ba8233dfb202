package main

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/apiserver"
)

// administered is a cluster with an administrator's kubeconfig.
type administered struct {
	t               *testing.T
	api             *apiserver.Server
	dataDir, config string
}

func newAdministered(t *testing.T) administered {
	t.Helper()
	dir := t.TempDir()
	api, err := apiserver.Start(t.Context(), apiserver.Config{DataDir: dir, Listen: netip.MustParseAddrPort("127.0.0.1:0"), Logger: slog.New(slog.DiscardHandler)})
	ok(t, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- api.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		ok(t, <-ended)
	})
	cert, key, err := api.Authorities().UserCertificate("root", []string{"system:masters"}, 0)
	ok(t, err)
	path := filepath.Join(dir, adminConfig)
	ok(t, writeKubeconfig(path, "test", "root", serverURL(api.Address().Addr(), api.Address().Port()), api.Authorities().API.PEM, cert, key))
	return administered{t, api, dir, path}
}

// run gives what a command prints.
func (a administered) run(args ...string) (string, error) {
	a.t.Helper()
	root := newRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(append(args, "--kubeconfig", a.config))
	err := root.ExecuteContext(a.t.Context())
	return out.String(), err
}

// who is the user that a kubeconfig makes of its holder.
func (a administered) who(text []byte) (string, error) {
	a.t.Helper()
	config, err := clientcmd.RESTConfigFromKubeConfig(text)
	ok(a.t, err)
	c, err := client.New(config, client.Options{})
	if err != nil {
		return "", err
	}
	review := &authenticationv1.SelfSubjectReview{}
	err = c.Create(a.t.Context(), review)
	return review.Status.UserInfo.Username + " " + strings.Join(review.Status.UserInfo.Groups, ","), err
}

// TestPeopleComeAndGo gives two people access, lists them and takes it away
// from one, one certificate and then all.
func TestPeopleComeAndGo(t *testing.T) {
	t.Parallel()
	a := newAdministered(t)
	configs := map[string][]byte{}
	for _, c := range []struct{ file, name string }{{"ada", "ada"}, {"ada's second", "ada"}, {"bob", "bob"}} {
		path := filepath.Join(t.TempDir(), "kubeconfig")
		out, err := a.run("user", "add", c.name, "--group", "dev,ops", "--data-dir", a.dataDir, "-f", path)
		ok(t, err)
		if out != "" {
			t.Errorf("add with a file printed %q", out)
		}
		configs[c.file], err = os.ReadFile(path)
		ok(t, err)
		if who, err := a.who(configs[c.file]); err != nil || who != c.name+" dev,ops,system:authenticated" {
			t.Errorf("%s: %q, %v", c.file, who, err)
		}
	}
	list, err := a.run("user", "list")
	ok(t, err)
	lines := regexp.MustCompile(`(?m)^(ada|bob) +dev,ops +([0-9a-f]+) +20\d\d-\d\d-\d\d +root +20\d\d-\d\d-\d\d$`).FindAllStringSubmatch(list, -1)
	if len(lines) != 3 || strings.Count(list, "\n") != 4 || lines[2][1] != "bob" {
		t.Fatalf("the list is\n%s", list)
	}

	believed := func(want map[string]bool) {
		t.Helper()
		for name, text := range configs {
			if who, err := a.who(text); (err == nil) != want[name] || err != nil && !apierrors.IsUnauthorized(err) {
				t.Errorf("%s is %q, %v; want believed: %v", name, who, err, want[name])
			}
		}
	}
	if out, err := a.run("user", "remove", "bob", "--serial", strings.ToUpper(lines[2][2])); err != nil || out != "1 of bob's certificates removed\n" {
		t.Errorf("remove one: %q, %v", out, err)
	}
	believed(map[string]bool{"ada": true, "ada's second": true})
	if out, err := a.run("user", "remove", "ada"); err != nil || out != "2 of ada's certificates removed\n" {
		t.Errorf("remove all: %q, %v", out, err)
	}
	believed(nil)
	for _, args := range [][]string{{"user", "remove", "ada"}, {"user", "remove", "nobody"}, {"user", "add", "eve", "--ttl", "0s", "--data-dir", a.dataDir}} {
		if out, err := a.run(args...); err == nil {
			t.Errorf("%v: %q and no error", args, out)
		}
	}
	if list, err := a.run("user", "list"); err != nil || strings.Count(list, "\n") != 1 {
		t.Errorf("the list at the end: %v\n%s", err, list)
	}
}

// TestTokensComeAndGo makes, lists and revokes tokens.
func TestTokensComeAndGo(t *testing.T) {
	t.Parallel()
	a := newAdministered(t)
	join := func(text string) error {
		config, err := clientcmd.BuildConfigFromFlags("", a.config)
		ok(t, err)
		config.CertData, config.KeyData, config.BearerToken = nil, nil, strings.Join(strings.Split(strings.TrimSpace(text), ".")[:2], ".")
		c, err := client.New(config, client.Options{})
		if err != nil {
			return err
		}
		return c.Create(t.Context(), &authenticationv1.SelfSubjectReview{})
	}
	narrow, err := a.run("token", "create", "--ttl", "1h", "--uses", "3", "--data-dir", a.dataDir)
	ok(t, err)
	wide, err := a.run("token", "create", "--ttl", "2h", "--data-dir", a.dataDir)
	ok(t, err)
	ok(t, join(narrow))
	id, secret, _ := strings.Cut(narrow, ".")
	list, err := a.run("token", "list")
	ok(t, err)
	if !regexp.MustCompile(`(?m)^`+id+` +in (1h0m0s|59m\d+s) +3$`).MatchString(list) || !regexp.MustCompile(`(?m)^`+wide[:6]+` +in (2h0m0s|1h59m\d+s) +any$`).MatchString(list) {
		t.Errorf("the list is\n%s", list)
	}
	if strings.Contains(list, secret[:16]) {
		t.Error("the list shows a secret")
	}
	if _, err := a.run("token", "revoke", id); err != nil {
		t.Errorf("revoke: %v", err)
	}
	if err := join(narrow); !apierrors.IsUnauthorized(err) {
		t.Errorf("with a revoked token: %v", err)
	}
	ok(t, join(wide))
	list, err = a.run("token", "list")
	if err != nil || strings.Contains(list, id) || !strings.Contains(list, wide[:6]) {
		t.Errorf("the list afterwards: %v\n%s", err, list)
	}
	for _, args := range [][]string{{"token", "revoke", id}, {"token", "create", "--ttl", "0s", "--data-dir", a.dataDir}, {"token", "create", "--uses", "-1", "--data-dir", a.dataDir}} {
		if out, err := a.run(args...); err == nil {
			t.Errorf("%v: %q and no error", args, out)
		}
	}
}

// TestKeysOfTheClusterThatIsMeant: keys are taken from beside the kubeconfig, or
// where they are said to be; none are made, and another cluster's give no access.
func TestKeysOfTheClusterThatIsMeant(t *testing.T) {
	t.Parallel()
	a := newAdministered(t)
	out, err := a.run("user", "add", "jane")
	ok(t, err)
	if !strings.Contains(out, "client-certificate-data") {
		t.Errorf("without a directory: %s", out)
	}
	empty := t.TempDir()
	for _, args := range [][]string{{"user", "add", "john", "--data-dir", empty}, {"token", "create", "--data-dir", empty}} {
		if _, err := a.run(args...); err == nil || !strings.Contains(err.Error(), "the cluster's keys are not in "+empty) {
			t.Errorf("%v: %v", args, err)
		}
	}
	if left, err := os.ReadDir(empty); err != nil || len(left) > 0 {
		t.Errorf("it has made %v, %v", left, err)
	}
	other := newAdministered(t)
	for _, args := range [][]string{{"user", "add", "john", "--data-dir", other.dataDir}, {"token", "create", "--data-dir", other.dataDir}} {
		if _, err := a.run(args...); err == nil || !strings.Contains(err.Error(), "are of another cluster") {
			t.Errorf("%v: %v", args, err)
		}
	}
}
