package gittest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// Channel is what a command over ssh reads and writes.
type Channel = ssh.Channel

// sshServer runs git's own commands for whoever has the key.
type sshServer struct {
	address              string
	knownHosts, identity []byte

	root   string
	config *ssh.ServerConfig
	ctx    context.Context // of the test
	done   sync.WaitGroup
	old    atomic.Bool // speaks version 0 of git's protocol only

	mu    sync.Mutex // guards fault
	fault func(context.Context, Channel)
}

func newSSHServer(t testing.TB, root string) *sshServer {
	t.Helper()
	host, identity := newKey(t), newKey(t)
	s := &sshServer{root: root, config: &ssh.ServerConfig{
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if bytes.Equal(key.Marshal(), identity.signer.PublicKey().Marshal()) {
				return nil, nil
			}
			return nil, errors.New("unknown key")
		},
	}}
	s.config.AddHostKey(host.signer)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen for ssh: %v", err)
	}
	s.address, s.identity = listener.Addr().String(), identity.pem
	s.knownHosts = []byte(knownhosts.Line([]string{knownhosts.Normalize(s.address)}, host.signer.PublicKey()) + "\n")
	var cancel context.CancelFunc
	s.ctx, cancel = context.WithCancel(context.WithoutCancel(t.Context()))
	s.done.Go(func() { s.listen(listener) })
	t.Cleanup(func() {
		cancel()
		_ = listener.Close()
		s.done.Wait()
	})
	return s
}

type key struct {
	signer ssh.Signer
	pem    []byte
}

func newKey(t testing.TB) key {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return key{signer, pem.EncodeToMemory(block)}
}

func (s *sshServer) set(f func(context.Context, Channel)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

func (s *sshServer) listen(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return // closed
		}
		s.done.Go(func() { s.talk(conn) })
	}
}

// talk serves one connection, and ends it with the test.
func (s *sshServer) talk(conn net.Conn) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer conn.Close()
	server, channels, requests, err := ssh.NewServerConn(conn, s.config)
	if err != nil {
		return
	}
	s.done.Go(func() { ssh.DiscardRequests(requests) })
	s.done.Go(func() {
		_ = server.Wait()
		cancel()
	})
	for offered := range channels {
		channel, requests, err := offered.Accept()
		if err != nil {
			return
		}
		s.done.Go(func() { s.command(ctx, channel, requests) })
	}
}

// command runs the one command of a channel.
func (s *sshServer) command(ctx context.Context, channel ssh.Channel, requests <-chan *ssh.Request) {
	defer channel.Close()
	protocol := ""
	for r := range requests {
		var variable struct{ Name, Value string }
		if r.Type == "env" && !s.old.Load() && ssh.Unmarshal(r.Payload, &variable) == nil && variable.Name == "GIT_PROTOCOL" {
			protocol = variable.Value
			_ = r.Reply(true, nil)
			continue
		}
		if r.Type != "exec" {
			_ = r.Reply(false, nil)
			continue
		}
		_ = r.Reply(true, nil)
		var payload struct{ Command string }
		_ = ssh.Unmarshal(r.Payload, &payload)
		s.mu.Lock()
		fault := s.fault
		s.mu.Unlock()
		if fault != nil {
			fault(ctx, channel)
			return
		}
		status := struct{ Status uint32 }{s.git(ctx, channel, payload.Command, protocol)}
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(status))
		return
	}
}

func (s *sshServer) git(ctx context.Context, channel ssh.Channel, line, protocol string) uint32 {
	service, path, _ := strings.Cut(line, " ")
	if service != "git-upload-pack" && service != "git-receive-pack" {
		return 127
	}
	cmd := exec.CommandContext(ctx, service, filepath.Join(s.root, strings.Trim(path, "'")))
	cmd.Env = append(environment(s.root), "GIT_PROTOCOL="+protocol)
	cmd.WaitDelay = time.Second // what it has started may live longer
	cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
	in, err := cmd.StdinPipe()
	if err != nil {
		return 1
	}
	if err := cmd.Start(); err != nil {
		return 1
	}
	s.done.Go(func() {
		defer in.Close()
		buffer := make([]byte, 32<<10)
		for {
			n, err := channel.Read(buffer)
			if _, werr := in.Write(buffer[:n]); err != nil || werr != nil {
				return
			}
		}
	})
	if cmd.Wait() != nil {
		return 1
	}
	return 0
}
