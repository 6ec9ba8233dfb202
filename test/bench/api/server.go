package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	clientrest "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// patience is for anything at all to happen on a busy machine.
const patience = time.Minute

// server is the binary running with nothing but the API.
type server struct {
	cmd    *exec.Cmd
	log    string
	url    string
	tls    *tls.Config
	socket string // of the profiles
}

// start runs the binary until it is ready, with a directory of the given name.
func (b *bench) start(ctx context.Context, name string) (*server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	data := filepath.Join(b.dir, name)
	s := &server{log: data + ".log", url: "https://127.0.0.1:" + port, socket: data + ".pprof"}
	log, err := os.Create(s.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd = exec.Command(b.binary, "server", "--data-dir", data, "--bind-address", "127.0.0.1", "--https-port", port,
		"--node-name", "bench", "--gossip-port", "0", "--disable", "scheduler,reconciler,gitsource,agent")
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if b.verbose {
		s.cmd.Stderr = os.Stderr
	}
	s.cmd.Env = append(environment(), "HEADWAY_PPROF="+s.socket)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	if err := s.ready(ctx, filepath.Join(data, "admin.kubeconfig")); err != nil {
		return nil, errors.Join(err, s.end())
	}
	return s, nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// environment is this process's without proxies and own settings.
func environment() []string {
	var all []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if upper := strings.ToUpper(name); !strings.HasSuffix(upper, "_PROXY") && !strings.HasPrefix(upper, "HEADWAY_") {
			all = append(all, v)
		}
	}
	return all
}

// ready waits for the kubeconfig and for /readyz.
func (s *server) ready(ctx context.Context, kubeconfig string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return poll(ctx, 5*time.Millisecond, func() error {
		config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return err
		}
		if s.tls, err = clientrest.TLSConfigFor(config); err != nil {
			return err
		}
		c := s.client()
		defer c.CloseIdleConnections()
		_, err = s.do(ctx, c, request{path: "/readyz"})
		return err
	})
}

// poll calls f until it succeeds.
func poll(ctx context.Context, every time.Duration, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(every):
		}
	}
}

// client makes a client with a connection of its own.
func (s *server) client() *http.Client { return newClient(s.tls) }

func newClient(config *tls.Config) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config.Clone(), Protocols: protocols, MaxIdleConns: 1,
		Proxy: func(*http.Request) (*url.URL, error) { return nil, nil }}}
}

// request is one request to the server.
type request struct {
	method, path string
	media        string // of the body and the answer; JSON when empty
	body         []byte
}

const (
	mediaJSON     = "application/json"
	mediaProtobuf = "application/vnd.kubernetes.protobuf"
)

// open sends a request and gives the answer if it is a good one.
func (s *server) open(ctx context.Context, c *http.Client, r request) (*http.Response, error) {
	if r.method == "" {
		r.method = http.MethodGet
	}
	if r.media == "" {
		r.media = mediaJSON
	}
	var body io.Reader
	if r.body != nil {
		body = strings.NewReader(string(r.body))
	}
	req, err := http.NewRequestWithContext(ctx, r.method, s.url+r.path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", r.media)
	// What is measured is the answer itself.
	req.Header.Set("Accept-Encoding", "identity")
	if r.body != nil {
		req.Header.Set("Content-Type", r.media)
	}
	answer, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 4096)) // the code is the error
		return nil, errors.Join(fmt.Errorf("%s %s: %s: %s", r.method, r.path, answer.Status, text), answer.Body.Close())
	}
	return answer, nil
}

// do sends a request and reads all of the answer.
func (s *server) do(ctx context.Context, c *http.Client, r request) ([]byte, error) {
	answer, err := s.open(ctx, c, r)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(answer.Body)
	return b, errors.Join(err, answer.Body.Close())
}

// end stops the server as a supervisor would.
func (s *server) end() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := s.cmd.Wait(); err != nil {
		text, _ := os.ReadFile(s.log) // the exit itself is the error
		return fmt.Errorf("server: %w: %s", err, text[max(0, len(text)-2000):])
	}
	return nil
}
