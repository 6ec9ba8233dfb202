package join

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/connrotation"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/pki"
)

// refreshEvery is how often a running agent asks for the cluster's parameters:
// several times while a new gossip key spreads.
const refreshEvery = 30 * time.Second

// Config says which machine joins what.
type Config struct {
	// Dir keeps the identity; mode 0700.
	Dir string
	// Server is https://HOST[:PORT] of any API server.
	Server string
	// Token admits the machine. It may be empty once it has joined.
	Token string
	// Node is the node's name, Addresses are what its own server is reached by.
	Node      string
	Addresses []netip.Addr
	// Connect makes an API client from a configuration, whose Transport it
	// must use.
	Connect func(*rest.Config) (client.WithWatch, error)
	Clock   clock.Clock
	Logger  *slog.Logger
}

// Agent is a machine that has joined: its identity and its way to the API.
type Agent struct {
	config    Config
	authority *x509.Certificate
	answer    Answer
	servers   *servers
	follow    func(Answer)
	// connections are those of the node to the API; a new certificate needs new ones.
	connections *connrotation.Dialer
	client      *certificate
	serving     *certificate
}

// Files below Config.Dir.
const (
	authorityFile = "api-ca.crt"
	answerFile    = "cluster.json"
	clientFile    = "client.pem"
	servingFile   = "serving.pem"
)

// Join returns at once for a machine that has joined before. Otherwise it joins
// and returns then; while no server answers it goes on trying. A refusal is an
// error.
func Join(ctx context.Context, config Config) (*Agent, error) {
	if config.Dir == "" || config.Node == "" || config.Connect == nil || config.Clock == nil || config.Logger == nil {
		return nil, errors.New("join: Dir, Node, Connect, Clock and Logger are needed")
	}
	first, err := endpoint(config.Server)
	if err != nil {
		return nil, err
	}
	a := &Agent{config: config, servers: newServers(first)}
	a.connections = connrotation.NewDialer(a.servers.dial)
	a.certificates()
	known, err := a.load()
	if err != nil {
		return nil, fmt.Errorf("read the node's identity: %w", err)
	}
	if !known {
		if err := a.first(ctx); err != nil {
			return nil, fmt.Errorf("join: %w", err)
		}
	}
	a.servers.add(a.answer.Servers...)
	node, err := config.Connect(a.RESTConfig())
	if err != nil {
		return nil, err
	}
	a.client.sign = signBy(node, certificatesv1.KubeAPIServerClientKubeletSignerName, certificatesv1.UsageClientAuth)
	a.serving.sign = signBy(node, certificatesv1.KubeletServingSignerName, certificatesv1.UsageServerAuth)
	return a, nil
}

// certificates makes both, empty.
func (a *Agent) certificates() {
	subject := pkix.Name{CommonName: "system:node:" + a.config.Node, Organization: []string{"system:nodes"}}
	a.client = &certificate{path: a.path(clientFile), request: x509.CertificateRequest{Subject: subject},
		renewed: a.connections.CloseAll, clock: a.config.Clock, logger: a.config.Logger}
	a.serving = &certificate{path: a.path(servingFile), request: x509.CertificateRequest{Subject: subject, DNSNames: []string{a.config.Node}},
		clock: a.config.Clock, logger: a.config.Logger}
	for _, ip := range a.config.Addresses {
		a.serving.request.IPAddresses = append(a.serving.request.IPAddresses, ip.AsSlice())
	}
}

func (a *Agent) path(name string) string { return filepath.Join(a.config.Dir, name) }

// load reads what an earlier life has kept; false: there is not enough.
func (a *Agent) load() (bool, error) {
	text, err := os.ReadFile(a.path(authorityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if a.authority, err = pki.ParseCertificate(text); err != nil {
		return false, fmt.Errorf("%s: %w", a.path(authorityFile), err)
	}
	if a.config.Token != "" {
		token, err := ParseToken(a.config.Token)
		if err != nil {
			return false, err
		}
		if token.Hash != pki.Hash(a.authority) {
			return false, fmt.Errorf("%s belongs to another cluster than the token; remove the node's data directory, or give it another one", a.config.Dir)
		}
	}
	if err := errors.Join(a.client.load(), a.serving.load()); err != nil {
		return false, err
	}
	text, err = os.ReadFile(a.path(answerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(text, &a.answer); err != nil {
		return false, fmt.Errorf("%s: %w", a.path(answerFile), err)
	}
	_, err = a.client.get()
	return err == nil && a.answer.validate() == nil, nil
}

// first joins with the token, again and again while no server answers.
func (a *Agent) first(ctx context.Context) error {
	if a.config.Token == "" {
		return errors.New("this machine has no valid certificate of the cluster: a join token is needed")
	}
	token, err := ParseToken(a.config.Token)
	if err != nil {
		return err
	}
	const longest = 15 * time.Second
	for wait := firstRetry / 4; ; wait = min(2*wait, longest) {
		err := a.try(ctx, token)
		if err == nil || errors.Is(err, ErrRefused) || errors.Is(err, errPin) || ctx.Err() != nil {
			return err
		}
		a.config.Logger.Warn("not joined yet; trying again", "server", a.config.Server, "in", wait, "error", err)
		timer := a.config.Clock.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C():
		}
	}
}

// try joins once, and keeps what it got in the order in which load wants it.
func (a *Agent) try(ctx context.Context, token Token) error {
	authority, err := Authority(ctx, a.config.Server, token.Hash, a.config.Clock)
	if err != nil {
		return err
	}
	if a.authority, err = pki.ParseCertificate(authority); err != nil {
		return err
	}
	if err := pki.WriteFile(a.path(authorityFile), authority, 0o600); err != nil {
		return fmt.Errorf("keep the authority: %w", err)
	}
	transport := a.transport(a.servers.dial, nil)
	defer transport.CloseIdleConnections()
	answer, err := a.fetch(ctx, &http.Client{Transport: transport}, token.Bearer)
	if err != nil {
		return err
	}
	a.answer = *answer
	c, err := a.config.Connect(&rest.Config{Host: a.config.Server, BearerToken: token.Bearer, Transport: transport, UserAgent: userAgent, QPS: -1})
	if err != nil {
		return err
	}
	a.client.sign = signBy(c, certificatesv1.KubeAPIServerClientKubeletSignerName, certificatesv1.UsageClientAuth)
	return a.client.renew(ctx)
}

// fetch asks for the cluster's parameters and keeps them on disk.
func (a *Agent) fetch(ctx context.Context, c *http.Client, bearer string) (*Answer, error) {
	answer, err := ask(ctx, c, a.config.Server, bearer, Request{Node: a.config.Node})
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return nil, err
	}
	if have, err := os.ReadFile(a.path(answerFile)); err == nil && bytes.Equal(have, text) {
		return answer, nil
	}
	// It has the gossip keys.
	if err := pki.WriteFile(a.path(answerFile), text, 0o600); err != nil {
		return nil, fmt.Errorf("keep the cluster's parameters: %w", err)
	}
	return answer, nil
}

// Run has the serving certificate signed, renews both certificates before they
// expire and fetches the cluster's parameters for the next start, until ctx ends.
func (a *Agent) Run(ctx context.Context) error {
	var group sync.WaitGroup
	for _, c := range []*certificate{a.client, a.serving} {
		group.Go(func() { c.run(ctx) })
	}
	group.Go(func() { a.refresh(ctx) })
	group.Wait()
	a.connections.CloseAll()
	return nil
}

// refresh fetches the cluster's parameters, again and again: gossip keys are
// changed while agents run, and the next start may be without a server.
func (a *Agent) refresh(ctx context.Context) {
	transport := a.transport(a.servers.dial, a.clientCertificate)
	defer transport.CloseIdleConnections()
	ticker := a.config.Clock.NewTimer(0)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
		answer, err := a.fetch(ctx, &http.Client{Transport: transport}, "")
		if err != nil && ctx.Err() == nil {
			a.config.Logger.Info("cluster's parameters not refreshed", "error", err)
		}
		if err == nil && a.follow != nil {
			a.follow(*answer)
		}
		ticker.Reset(refreshEvery)
	}
}

// Follow has f told of the cluster's parameters whenever they were fetched. Call
// it before Run.
func (a *Agent) Follow(f func(Answer)) { a.follow = f }

// Answer are the cluster's parameters.
func (a *Agent) Answer() Answer { return a.answer }

// Discover adds a source of further servers. Call it before Run.
func (a *Agent) Discover(more func() []string) {
	a.servers.mu.Lock()
	defer a.servers.mu.Unlock()
	a.servers.more = more
}

// Lost says that a server, by its base URL, answers nobody.
func (a *Agent) Lost(server string) {
	a.config.Logger.Info("a server does not answer; going to another one", "server", server)
	a.servers.lost(strings.TrimPrefix(server, "https://"))
}

// Servers are the base URLs of the servers, the one that worked last first.
func (a *Agent) Servers() []string {
	var out []string
	for _, e := range a.servers.all() {
		out = append(out, "https://"+e)
	}
	return out
}

// Serving is for tls.Config.GetCertificate of the agent's server.
func (a *Agent) Serving(*tls.ClientHelloInfo) (*tls.Certificate, error) { return a.serving.get() }

// Peers is how this node asks other nodes: with its own certificate, believing
// nodes only. Nil: the server that admitted it has not told how to know them.
func (a *Agent) Peers() *tls.Config {
	if a.answer.NodeCA == "" {
		return nil
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(a.answer.NodeCA))
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, GetClientCertificate: a.clientCertificate}
}

// Clients is the authority of who may ask the agent's server.
func (a *Agent) Clients() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(a.answer.ClientCA))
	return pool
}
