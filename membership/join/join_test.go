package join_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/pki"
	"github.com/headway-sh/headway/membership/join"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const bearer = "abcdef.0123456789abcdef"

// world is a server that machines join, with an emulated certificate
// controller behind it.
type world struct {
	api, clients, nodes *pki.CA
	server              *httptest.Server
	token               string

	mu       sync.Mutex // guards what follows
	alive    map[string]bool
	revoked  bool
	deny     string
	asked    int           // requests to join
	lifetime time.Duration // of certificates
	signed   []string      // signers
	settled  map[string]*certificatesv1.CertificateSigningRequest
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{alive: map[string]bool{}, settled: map[string]*certificatesv1.CertificateSigningRequest{}, lifetime: time.Hour}
	for name, ca := range map[string]**pki.CA{"api": &w.api, "client": &w.clients, "nodes": &w.nodes} {
		made, err := pki.LoadOrCreateCA(t.TempDir(), name, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		*ca = made
	}
	w.token = bearer + "." + w.api.Hash()
	mux := http.NewServeMux()
	mux.Handle(join.Path, join.NewServer(join.ServerConfig{
		Identify: w.identify, Alive: func(node string) bool { w.mu.Lock(); defer w.mu.Unlock(); return w.alive[node] },
		Registered: func(context.Context, string) (bool, error) { return false, nil },
		Answer: func() join.Answer {
			return join.Answer{ClusterDomain: "cluster.local", ClusterDNS: netip.MustParseAddr("10.96.0.10"), PodCIDR: netip.MustParsePrefix("10.244.0.0/16"),
				ClientCA: string(w.clients.PEM), GossipKey: []byte("secret"), Seeds: []string{"192.0.2.1:7946"}}
		},
		Logger: slog.New(slog.DiscardHandler),
	}))
	w.server = httptest.NewUnstartedServer(mux)
	w.server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert,
		GetCertificate: pki.NewRotating(w.api, pki.Request{CommonName: "kubernetes", Server: true, DNSNames: []string{join.ServerName}}, clock.RealClock{}).Server}
	w.server.EnableHTTP2 = true
	w.server.StartTLS()
	t.Cleanup(w.server.Close)
	return w
}

func (w *world) identify(r *http.Request) (join.Caller, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	if len(r.TLS.PeerCertificates) > 0 {
		name := r.TLS.PeerCertificates[0].Subject.CommonName
		return join.Caller{Name: name, Node: strings.TrimPrefix(name, "system:node:")}, nil
	}
	switch r.Header.Get("Authorization") {
	case "Bearer " + bearer:
		if w.revoked {
			return join.Caller{}, errors.New("revoked")
		}
		return join.Caller{Name: "system:bootstrap:abcdef", Token: true}, nil
	case "":
		return join.Caller{Name: "system:anonymous"}, nil
	}
	return join.Caller{}, errors.New("unknown")
}

func (w *world) config(dir string) join.Config {
	return join.Config{Dir: dir, Server: w.server.URL, Token: w.token, Node: "n1", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.7")},
		Connect: func(c *rest.Config) (client.WithWatch, error) { return &signer{world: w}, nil },
		Clock:   clock.RealClock{}, Logger: slog.New(slog.DiscardHandler)}
}

// signer emulates the API as far as certificate requests go.
type signer struct {
	client.WithWatch // all other calls are not expected
	world            *world
}

func (s *signer) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	csr := o.(*certificatesv1.CertificateSigningRequest)
	w := s.world
	w.mu.Lock()
	defer w.mu.Unlock()
	csr.Name = fmt.Sprint(csr.GenerateName, len(w.settled))
	settled := csr.DeepCopy()
	w.settled[csr.Name] = settled
	if w.deny != "" {
		settled.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateDenied, Message: w.deny}}
		return nil
	}
	block, _ := pem.Decode(csr.Spec.Request)
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return err
	}
	ca := w.clients
	if csr.Spec.SignerName == certificatesv1.KubeletServingSignerName {
		ca = w.nodes
	}
	w.signed = append(w.signed, csr.Spec.SignerName)
	settled.Status.Certificate, err = ca.Sign(request.PublicKey, pki.Request{CommonName: request.Subject.CommonName, Organizations: request.Subject.Organization,
		DNSNames: request.DNSNames, IPs: request.IPAddresses, Client: ca == w.clients, Server: ca == w.nodes, Lifetime: w.lifetime}, time.Now())
	return err
}

func (s *signer) Watch(_ context.Context, _ client.ObjectList, options ...client.ListOption) (watch.Interface, error) {
	name, _ := (&client.ListOptions{}).ApplyOptions(options).FieldSelector.RequiresExactMatch("metadata.name")
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	events := watch.NewFakeWithChanSize(1, false)
	events.Modify(s.world.settled[name])
	return events, nil
}

func TestMachineJoinsOnceAndComesBackAlone(t *testing.T) {
	t.Parallel()
	w, dir := newWorld(t), t.TempDir()
	first, err := join.Join(t.Context(), w.config(dir))
	if err != nil {
		t.Fatal(err)
	}
	if a := first.Answer(); string(a.GossipKey) != "secret" || a.ClusterDomain != "cluster.local" {
		t.Errorf("the answer is %+v", a)
	}
	for _, name := range []string{"client.pem", "cluster.json", "api-ca.crt"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", name, info, err)
		}
	}
	asked := w.asked
	w.server.Close()
	again := w.config(dir)
	again.Token = ""
	second, err := join.Join(t.Context(), again)
	if err != nil {
		t.Fatalf("with the server away: %v", err)
	}
	if w.asked != asked || second.Answer().ClusterDomain != "cluster.local" {
		t.Errorf("asked %d times and then %d; knows %+v", asked, w.asked, second.Answer())
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		arrange func(*world, *join.Config)
		want    string
	}{
		"another authority": {func(_ *world, c *join.Config) { c.Token = bearer + "." + strings.Repeat("0", 64) }, "certificate authority is not the one"},
		"guessed secret":    {func(w *world, c *join.Config) { c.Token = "abcdef.aaaaaaaaaaaaaaaa." + w.api.Hash() }, "unknown, revoked or expired"},
		"revoked":           {func(w *world, _ *join.Config) { w.revoked = true }, "unknown, revoked or expired"},
		"living name":       {func(w *world, _ *join.Config) { w.alive["n1"] = true }, `node "n1" is alive`},
		"denied":            {func(w *world, _ *join.Config) { w.deny = "not you" }, "not you"},
		"bad name":          {func(_ *world, c *join.Config) { c.Node = "N_1" }, "node name"},
		"no token":          {func(_ *world, c *join.Config) { c.Token = "" }, "a join token is needed"},
		"half a token":      {func(_ *world, c *join.Config) { c.Token = bearer }, "ID.SECRET.HASH"},
		"plain HTTP":        {func(_ *world, c *join.Config) { c.Server = "http://192.0.2.1" }, "not https://"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			config := w.config(t.TempDir())
			c.arrange(w, &config)
			_, err := join.Join(t.Context(), config)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestImpostorIsNotBelieved presents the right authority behind a certificate
// that it did not sign.
func TestImpostorIsNotBelieved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other, err := pki.LoadOrCreateCA(t.TempDir(), "other", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM, err := other.Issue(pki.Request{CommonName: "kubernetes", Server: true, DNSNames: []string{join.ServerName}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(append(certPEM, w.api.PEM...), keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	impostor := httptest.NewUnstartedServer(http.NotFoundHandler())
	impostor.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	impostor.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	impostor.StartTLS()
	defer impostor.Close()
	if _, err := join.Authority(t.Context(), impostor.URL, w.api.Hash(), clock.RealClock{}); err == nil {
		t.Error("a server with a stolen copy of the authority's certificate is believed")
	}
	if got, err := join.Authority(t.Context(), w.server.URL, w.api.Hash(), clock.RealClock{}); err != nil || string(got) != string(w.api.PEM) {
		t.Errorf("the right server: %s, %v", got, err)
	}
}

func TestOtherClusterNeedsAnotherDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := join.Join(t.Context(), newWorld(t).config(dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := join.Join(t.Context(), newWorld(t).config(dir)); err == nil || !strings.Contains(err.Error(), "another cluster") {
		t.Errorf("%v, want a word about another cluster", err)
	}
}

func TestCertificatesAreSignedAndRenewed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.lifetime = time.Second // backdated: its two thirds are long over
	agent, err := join.Join(t.Context(), w.config(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := agent.Serving(nil); err == nil {
		t.Error("there is a serving certificate that nobody has signed")
	}
	w.mu.Lock()
	w.lifetime = 0
	w.mu.Unlock()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- agent.Run(ctx) }()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	serving, err := agent.Serving(nil)
	for signed := 0; (signed < 3 || err != nil) && deadline != nil; serving, err = agent.Serving(nil) {
		select {
		case <-tick.C:
		case <-deadline:
			deadline = nil
		}
		w.mu.Lock()
		signed = len(w.signed)
		w.mu.Unlock()
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = serving.Leaf.Verify(x509.VerifyOptions{Roots: w.nodes.Pool(), DNSName: "192.0.2.7"})
	if err != nil {
		t.Errorf("serving certificate: %v", err)
	}
	if got := fmt.Sprint(w.signed); strings.Count(got, "client-kubelet") != 2 || strings.Count(got, "serving") != 1 {
		t.Errorf("signed %v: want the client's again, and the serving one once", got)
	}
}

// TestServer asks what only the server decides.
func TestServer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method, body string
		caller       join.Caller
		err          error
		want         int
	}{
		"node for itself":     {"POST", `{"node":"n1"}`, join.Caller{Name: "system:node:n1", Node: "n1"}, nil, 200},
		"living node, itself": {"POST", `{"node":"live"}`, join.Caller{Name: "system:node:live", Node: "live"}, nil, 200},
		"node for another":    {"POST", `{"node":"n2"}`, join.Caller{Name: "system:node:n1", Node: "n1"}, nil, 403},
		"person":              {"POST", `{"node":"n1"}`, join.Caller{Name: "jane"}, nil, 403},
		"anonymous":           {"POST", `{"node":"n1"}`, join.Caller{}, nil, 403},
		"bad credentials":     {"POST", `{"node":"n1"}`, join.Caller{}, errors.New("no"), 401},
		"token":               {"POST", `{"node":"n1"}`, join.Caller{Name: "t", Token: true}, nil, 200},
		"token, living node":  {"POST", `{"node":"live"}`, join.Caller{Name: "t", Token: true}, nil, 409},
		"token, lost node":    {"POST", `{"node":"lost"}`, join.Caller{Name: "t", Token: true}, nil, 409},
		"lost node, itself":   {"POST", `{"node":"lost"}`, join.Caller{Name: "system:node:lost", Node: "lost"}, nil, 200},
		"token, not to tell":  {"POST", `{"node":"unknown"}`, join.Caller{Name: "t", Token: true}, nil, 503},
		"used up":             {"POST", `{"node":"third"}`, join.Caller{Name: "t", Token: true}, nil, 403},
		"not counted":         {"POST", `{"node":"unlucky"}`, join.Caller{Name: "t", Token: true}, nil, 503},
		"node is not counted": {"POST", `{"node":"third"}`, join.Caller{Name: "system:node:third", Node: "third"}, nil, 200},
		"no JSON":             {"POST", `node`, join.Caller{Name: "t", Token: true}, nil, 400},
		"huge":                {"POST", `{"node":"` + strings.Repeat("a", 1<<20) + `"}`, join.Caller{Name: "t", Token: true}, nil, 400},
		"path as name":        {"POST", `{"node":"../x"}`, join.Caller{Name: "t", Token: true}, nil, 400},
		"get":                 {"GET", ``, join.Caller{Name: "t", Token: true}, nil, 405},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := join.NewServer(join.ServerConfig{
				Identify: func(*http.Request) (join.Caller, error) { return c.caller, c.err },
				Alive:    func(node string) bool { return node == "live" },
				Registered: func(_ context.Context, node string) (bool, error) {
					return node == "lost", map[string]error{"unknown": errors.New("no leader")}[node]
				},
				Answer: func() join.Answer { return join.Answer{GossipKey: []byte("secret")} },
				Admit: func(_ context.Context, _ join.Caller, node string) error {
					return map[string]error{"third": join.ErrRefused, "unlucky": errors.New("conflict")}[node]
				},
				Logger: slog.New(slog.DiscardHandler),
			})
			out := httptest.NewRecorder()
			s.ServeHTTP(out, httptest.NewRequestWithContext(t.Context(), c.method, join.Path, strings.NewReader(c.body)))
			if out.Code != c.want {
				t.Errorf("%d %s, want %d", out.Code, out.Body, c.want)
			}
			if told := strings.Contains(out.Body.String(), "gossipKey"); told != (c.want == 200) {
				t.Errorf("gossip key told: %v", told)
			}
		})
	}
}
