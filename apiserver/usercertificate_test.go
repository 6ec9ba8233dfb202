package apiserver_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/apiserver"
	"github.com/headway-sh/headway/apiserver/etcd"
)

// startTwo runs two servers of one cluster, as docs/several-servers.md says.
func startTwo(t *testing.T) [2]*apiserver.Server {
	t.Helper()
	var peers [2]string
	for i := range peers {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		check(t, err)
		peers[i] = "https://" + l.Addr().String()
		check(t, l.Close())
	}
	initial := fmt.Sprintf("s0=%s,s1=%s", peers[0], peers[1])
	dirs := [2]string{t.TempDir(), t.TempDir()}
	var servers [2]*apiserver.Server
	started := make(chan error, 2)
	begin := func(i int) {
		var err error
		servers[i], err = apiserver.Start(t.Context(), apiserver.Config{DataDir: dirs[i], Listen: netip.MustParseAddrPort("127.0.0.1:0"), Logger: slog.New(slog.DiscardHandler),
			Etcd: etcd.Config{Name: fmt.Sprintf("s%d", i), PeerURL: peers[i], InitialCluster: initial, Token: "two"}})
		started <- err
	}
	go begin(0)
	pki := filepath.Join(dirs[0], "pki")
	eventually(t, "the first server's authorities", func(context.Context) (bool, error) {
		_, err := os.Stat(filepath.Join(pki, "encryption.yaml"))
		return err == nil, nil
	})
	copyAuthorities(t, pki, filepath.Join(dirs[1], "pki"))
	go begin(1)
	check(t, <-started)
	check(t, <-started)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 2)
	for _, s := range servers {
		go func() { ended <- s.Run(ctx) }()
	}
	t.Cleanup(func() {
		stop()
		check(t, <-ended)
		check(t, <-ended)
	})
	return servers
}

// copyAuthorities copies a server's authorities and keys, but not the
// certificate of its own member, which it may be writing.
func copyAuthorities(t *testing.T, from, to string) {
	t.Helper()
	check(t, os.Mkdir(to, 0o700))
	entries, err := os.ReadDir(from)
	check(t, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "etcd-member") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(from, e.Name()))
		check(t, err)
		check(t, os.WriteFile(filepath.Join(to, e.Name()), text, 0o600))
	}
}

// recordedPeer is somebody with a certificate that has a record.
func recordedPeer(t *testing.T, server *apiserver.Server, name string) (peer, *corev1.Secret) {
	t.Helper()
	cert, key, record, err := server.Authorities().RecordedCertificate(name, nil, time.Hour, "root")
	check(t, err)
	p, err := tls.X509KeyPair(cert, key)
	check(t, err)
	return peerOf(t, server, p), record
}

func code(t *testing.T, p peer) int {
	t.Helper()
	code, _ := p.ask(t, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", `{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`)
	return code
}

// TestCertificateIsBelievedWithItsRecord: a person's certificate is worth
// nothing without the record of that very certificate.
func TestCertificateIsBelievedWithItsRecord(t *testing.T) {
	t.Parallel()
	server := start(t)
	owner := server.Peer(admin).Client()
	ada, record := recordedPeer(t, server, "ada")
	if got := code(t, ada); got != http.StatusUnauthorized {
		t.Errorf("before the record: %d", got)
	}
	_, other := recordedPeer(t, server, "ada")
	for name, change := range map[string]func(*corev1.Secret){
		"of another type":         func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque },
		"of another certificate":  func(s *corev1.Secret) { s.Data["fingerprint"] = other.Data["fingerprint"] },
		"under another's number":  func(s *corev1.Secret) { s.Name = other.Name },
		"in another namespace":    func(s *corev1.Secret) { s.Namespace = "default" },
		"with nothing written in": func(s *corev1.Secret) { s.Data = nil },
	} {
		wrong := record.DeepCopy()
		change(wrong)
		check(t, owner.Create(t.Context(), wrong))
		if got := code(t, ada); got != http.StatusUnauthorized {
			t.Errorf("with a record %s: %d", name, got)
		}
		check(t, owner.Delete(t.Context(), wrong))
	}
	check(t, owner.Create(t.Context(), record.DeepCopy()))
	if got := code(t, ada); got != http.StatusCreated {
		t.Errorf("with its record: %d", got)
	}
	check(t, owner.Delete(t.Context(), record.DeepCopy()))
	if got := code(t, ada); got != http.StatusUnauthorized {
		t.Errorf("on the same connection after the record's deletion: %d", got)
	}
	if got := code(t, personPeer(t, server, "ada")); got != http.StatusCreated {
		t.Errorf("a certificate that never had a record: %d", got)
	}
}

// TestRemovedUserIsUnknownToEveryServer: what one server has taken back the
// other refuses too.
func TestRemovedUserIsUnknownToEveryServer(t *testing.T) {
	t.Parallel()
	servers := startTwo(t)
	cert, key, record, err := servers[0].Authorities().RecordedCertificate("ada", nil, time.Hour, "root")
	check(t, err)
	p, err := tls.X509KeyPair(cert, key)
	check(t, err)
	check(t, servers[0].Peer(admin).Client().Create(t.Context(), record.DeepCopy()))
	becomes := func(want int) {
		t.Helper()
		for i, s := range servers {
			ada := peerOf(t, s, p)
			eventually(t, fmt.Sprintf("server %d to answer %d", i, want), func(context.Context) (bool, error) { return code(t, ada) == want, nil })
		}
	}
	becomes(http.StatusCreated)
	check(t, servers[1].Peer(admin).Client().Delete(t.Context(), record.DeepCopy()))
	becomes(http.StatusUnauthorized)
}
