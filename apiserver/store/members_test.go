package store_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headway-sh/headway/apiserver/etcd"
)

// Three servers: the leader is killed, the others read and write on.
func TestThreeMembersOutliveTheirLeader(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tls := certificate(t, dir)
	var peers []string
	for i := range 3 {
		peers = append(peers, fmt.Sprintf("m%d=https://%s", i, freeAddress(t)))
	}
	var members []*child
	for _, peer := range peers {
		name, url, _ := strings.Cut(peer, "=")
		members = append(members, spawn(t, etcd.Config{
			DataDir: filepath.Join(dir, name), Name: name, PeerURL: url, InitialCluster: strings.Join(peers, ","), PeerTLS: tls,
			Heartbeat: 50 * time.Millisecond, Election: 500 * time.Millisecond,
		}))
	}
	leader := -1
	for i, m := range members {
		if m.ready().ask("leads") == "ok true" {
			leader = i
		}
	}
	if leader < 0 {
		t.Fatal("no member leads")
	}
	if got := members[leader].ask("put before x"); !strings.HasPrefix(got, "ok ") {
		t.Fatalf("write on the leader: %s", got)
	}
	for i, m := range members {
		if got := m.ask("get before"); !strings.HasPrefix(got, "ok ") {
			t.Errorf("member %d reads %s right after the acknowledgement", i, got)
		}
	}
	members[leader].kill()
	rest := append(members[:leader:leader], members[leader+1:]...)
	var got string
	for range 20 { // what is in flight during the election may fail
		if got = rest[0].ask("put after"); strings.HasPrefix(got, "ok ") || strings.Contains(got, "changed meanwhile") {
			break
		}
	}
	for i, m := range rest {
		for _, name := range []string{"before", "x", "after"} {
			if got := m.ask("get %s", name); !strings.HasPrefix(got, "ok ") {
				t.Errorf("survivor %d reads %s: %s", i, name, got)
			}
		}
	}
}

// freeAddress is a loopback address that nothing listened on a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// certificate makes one self-signed certificate that all peers share.
func certificate(t *testing.T, dir string) *etcd.PeerTLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "peer"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files := &etcd.PeerTLS{CertFile: filepath.Join(dir, "peer.crt"), KeyFile: filepath.Join(dir, "peer.key"), CAFile: filepath.Join(dir, "peer.crt")}
	for path, block := range map[string]*pem.Block{files.CertFile: {Type: "CERTIFICATE", Bytes: der}, files.KeyFile: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}
