package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/headway-sh/headway/test/bench/rig"
)

// bareVariable names the directory from which this program serves bytes
// instead of measuring: the floor for lists.
const bareVariable = "HEADWAY_BENCH_BARE"

// startBare runs this program as a server that answers everything with the
// bytes.
func startBare(ctx context.Context, dir string, bytes []byte) (*server, error) {
	dir, err := os.MkdirTemp(dir, "bare")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "bytes"), bytes, 0o600); err != nil {
		return nil, err
	}
	s := &server{Process: &rig.Process{Cmd: exec.Command("/proc/self/exe")}, tls: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // the bytes are not believed
	s.Cmd.Env = append(rig.Environment(), bareVariable+"="+dir)
	s.Cmd.Stderr = os.Stderr
	s.Cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.Cmd.Start(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, rig.Patience)
	defer cancel()
	err = rig.Poll(ctx, 5*time.Millisecond, func() error {
		address, err := os.ReadFile(filepath.Join(dir, "address"))
		s.url = "https://" + string(address)
		return err
	})
	if err != nil {
		s.kill()
		return nil, err
	}
	return s, nil
}

// serveBare is that server.
func serveBare() error {
	dir := os.Getenv(bareVariable)
	bytes, err := os.ReadFile(filepath.Join(dir, "bytes"))
	if err != nil {
		return err
	}
	certificate, err := selfSigned()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
		ReadHeaderTimeout: rig.Patience,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasPrefix(r.URL.Path, "/readyz") {
				w.Header().Set("Content-Type", mediaJSON)
				_, _ = w.Write(bytes) // an error is the client's
			}
		}),
	}
	// Renamed when whole: the other process reads it as soon as it is there.
	name := filepath.Join(dir, "address")
	if err := errors.Join(os.WriteFile(name+".new", []byte(listener.Addr().String()), 0o600), os.Rename(name+".new", name)); err != nil {
		return err
	}
	return server.ServeTLS(listener, "", "")
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// kill ends a bare server, which has nothing to put in order.
func (s *server) kill() {
	_ = s.Cmd.Process.Kill() // it may have ended
	_ = s.Cmd.Wait()         // killed is what it should be
}
