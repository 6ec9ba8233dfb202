package apiserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/apiserver"
	"github.com/headway-sh/headway/apiserver/encryption"
)

// startIn runs a server on a data directory until stop is called.
func startIn(t *testing.T, dir string, change func(*apiserver.Config)) (server *apiserver.Server, stop func()) {
	t.Helper()
	config := apiserver.Config{DataDir: dir, Listen: netip.MustParseAddrPort("127.0.0.1:0"), Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&config)
	}
	server, err := apiserver.Start(t.Context(), config)
	check(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			check(t, <-ended)
		}
	}
	t.Cleanup(stop)
	return server, stop
}

func password(name string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, StringData: map[string]string{"password": "hunter-" + name}}
}

// stored is how the server's Secrets are stored, by provider and key.
func stored(t *testing.T, server *apiserver.Server) (key string, counts map[string]int) {
	t.Helper()
	status, err := server.EncryptionStatus(t.Context())
	check(t, err)
	for _, r := range status.Resources {
		if r.Resource == "secrets" {
			return r.Key, r.Stored
		}
	}
	t.Fatalf("secrets are not sealed: %+v", status)
	return "", nil
}

// contains tells whether a file below dir has text in it.
func contains(t *testing.T, dir, text string) bool {
	t.Helper()
	found := false
	check(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		found = found || bytes.Contains(b, []byte(text))
		return err
	}))
	return found
}

func readable(t *testing.T, server *apiserver.Server, names ...string) {
	t.Helper()
	c := server.Peer(admin).Client()
	for _, name := range names {
		var s corev1.Secret
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: name}, &s); err != nil || string(s.Data["password"]) != "hunter-"+name {
			t.Errorf("secret %s is %q, %v", name, s.Data["password"], err)
		}
	}
}

func TestSecretsAreSealedAtRest(t *testing.T) {
	dir := t.TempDir()
	server, stop := startIn(t, dir, nil)
	c := server.Peer(admin).Client()
	check(t, c.Create(t.Context(), password("sealed")))
	check(t, c.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "plain"}, Data: map[string]string{"k": "in-plain-sight"}}))
	key, counts := stored(t, server)
	if !strings.HasPrefix(key, "secretbox/key-") || counts[key] != 1 || len(counts) != 1 {
		t.Errorf("sealed by %s: %v", key, counts)
	}
	stop()
	if contains(t, filepath.Join(dir, "etcd"), "hunter-sealed") {
		t.Error("the password is in etcd's files")
	}
	if !contains(t, filepath.Join(dir, "etcd"), "in-plain-sight") {
		t.Error("what is not sealed is not found either: the test looks in the wrong place")
	}
	server, stop = startIn(t, dir, nil)
	readable(t, server, "sealed")
	stop()

	check(t, os.Rename(filepath.Join(dir, "pki", "encryption.yaml"), filepath.Join(dir, "away.yaml")))
	_, err := apiserver.Start(t.Context(), apiserver.Config{DataDir: dir, Listen: netip.MustParseAddrPort("127.0.0.1:0"), Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), key) {
		t.Errorf("started without the key %s: %v", key, err)
	}
}

func TestRotationUnderWritesAndAfterACrash(t *testing.T) {
	dir := t.TempDir()
	server, stop := startIn(t, dir, nil)
	c := server.Peer(admin).Client()
	var names []string
	for i := range 150 {
		names = append(names, fmt.Sprintf("s%d", i))
		check(t, c.Create(t.Context(), password(names[i])))
	}
	before, _ := stored(t, server)
	writing, halt := context.WithCancel(t.Context())
	written := make(chan []string, 1)
	go func() {
		var more []string
		for i := 0; writing.Err() == nil; i++ {
			name := fmt.Sprintf("w%d", i)
			if c.Create(writing, password(name)) == nil {
				more = append(more, name)
			}
		}
		written <- more
	}()
	check(t, server.RotateEncryption(t.Context()))
	halt()
	names = append(names, <-written...)
	after, counts := stored(t, server)
	if after == before || len(counts) != 1 || counts[after] < len(names) {
		t.Errorf("after the rotation from %s: sealed by %s: %v", before, after, counts)
	}
	stop()
	server, stop = startIn(t, dir, nil)
	readable(t, server, names...)
	stop()

	// A crash after the new key was written: the next start goes on.
	_, err := encryption.Keyfile{Path: filepath.Join(dir, "pki", "encryption.yaml")}.Begin(time.Now().Add(time.Hour))
	check(t, err)
	server, _ = startIn(t, dir, nil)
	check(t, wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, 20*time.Second, true, func(ctx context.Context) (bool, error) {
		status, err := server.EncryptionStatus(ctx)
		return !status.Rotating, err
	}))
	last, counts := stored(t, server)
	if last == after || len(counts) != 1 {
		t.Errorf("after the crash: sealed by %s: %v", last, counts)
	}
	readable(t, server, names...)
}

func TestOwnConfigurationTakesOver(t *testing.T) {
	dir := t.TempDir()
	server, stop := startIn(t, dir, nil)
	check(t, server.Peer(admin).Client().Create(t.Context(), password("old")))
	stop()
	path := filepath.Join(t.TempDir(), "config.yaml")
	check(t, os.WriteFile(path, []byte(`kind: EncryptionConfiguration
apiVersion: apiserver.config.k8s.io/v1
resources:
- resources: [secrets, configmaps]
  providers:
  - aescbc: {keys: [{name: mine, secret: MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=}]}
  - identity: {}
`), 0o600))
	server, _ = startIn(t, dir, func(c *apiserver.Config) { c.EncryptionConfig = path })
	readable(t, server, "old")
	if err := server.RotateEncryption(t.Context()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("rotated keys in %s: %v", path, err)
	}
	check(t, server.Reencrypt(t.Context()))
	if key, counts := stored(t, server); key != "aescbc/mine" || counts[key] != 1 || len(counts) != 1 {
		t.Errorf("reencrypted: %s, %v", key, counts)
	}
	readable(t, server, "old")
}

func TestWhoMayLookAfterTheKeys(t *testing.T) {
	server := start(t)
	ask := func(user string, groups []string, method, path string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, "https://"+server.Address().String()+apiserver.EncryptionPath+path, nil)
		check(t, err)
		httpClient, err := rest.HTTPClientFor(asPerson(t, server, user, groups...))
		check(t, err)
		answer, err := httpClient.Do(r)
		check(t, err)
		defer answer.Body.Close()
		b, err := io.ReadAll(answer.Body)
		check(t, err)
		return answer.StatusCode, string(b)
	}
	for _, path := range []string{"/", "/rotate", "/reencrypt"} {
		for _, method := range []string{"GET", "POST"} {
			if code, _ := ask("jane", nil, method, path); code != http.StatusForbidden {
				t.Errorf("jane's %s %s: %d", method, path, code)
			}
		}
	}
	code, body := ask("root", []string{"system:masters"}, "POST", "/rotate")
	var status apiserver.EncryptionStatus
	if err := json.Unmarshal([]byte(body), &status); err != nil || code != http.StatusOK || !status.Own || status.Rotating {
		t.Errorf("root's rotation: %d %s (%v)", code, body, err)
	}
}

// asPerson is how somebody with a certificate reaches the server.
func asPerson(t *testing.T, server *apiserver.Server, name string, groups ...string) *rest.Config {
	t.Helper()
	cert, key, err := server.Authorities().UserCertificate(name, groups, 0)
	check(t, err)
	return &rest.Config{Host: "https://" + server.Address().String(), QPS: -1, TLSClientConfig: rest.TLSClientConfig{
		CAData: server.Authorities().API.PEM, CertData: cert, KeyData: key, ServerName: "kubernetes.default.svc"}}
}
