package registry

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// askTimeout is how long a node has to say whether it has an image, asking
	// how many are asked at once.
	askTimeout = time.Second
	asking     = 16
	// maxManifest is more than any manifest has.
	maxManifest = 16 << 20
)

// Peers are the other nodes of a cluster.
type Peers struct {
	list   func() []netip.AddrPort
	client *http.Client
}

// NewPeers makes them. list gives where the other nodes' agents serve; config
// has this node's certificate and believes nodes' serving certificates only.
func NewPeers(list func() []netip.AddrPort, config *tls.Config) *Peers {
	transport := NewTransport(config, 15*time.Second)
	transport.Proxy = nil // nodes reach each other
	return &Peers{list: list, client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Client is how peers are asked for content.
func (p *Peers) Client() *http.Client { return p.client }

// Found is an image that other nodes have.
type Found struct {
	Target ocispec.Descriptor
	// Hosts have it, in no order.
	Hosts []string
}

// answer is one node's.
type answer struct {
	host    string
	target  ocispec.Descriptor
	updated int64
}

// Find asks all nodes for an image by its full name. Of several that a tag is
// given to, the one counts that a node has given it to last; of two at the same
// time the lower digest.
func (p *Peers) Find(ctx context.Context, ref string) (Found, bool) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return Found{}, false
	}
	want := ""
	switch n := named.(type) {
	case reference.Canonical:
		want = n.Digest().String()
	case reference.Tagged:
		want = n.Tag()
	}
	address := url.URL{Scheme: "https", Path: "/v2/" + reference.Path(named) + "/manifests/" + want, RawQuery: url.Values{namespace: {reference.Domain(named)}}.Encode()}
	answers := p.ask(ctx, address)
	if len(answers) == 0 {
		return Found{}, false
	}
	best := slices.MinFunc(answers, func(a, b answer) int {
		return cmp.Or(cmp.Compare(b.updated, a.updated), cmp.Compare(a.target.Digest, b.target.Digest))
	})
	found := Found{Target: best.target}
	for _, a := range answers {
		if a.target.Digest == best.target.Digest {
			found.Hosts = append(found.Hosts, a.host)
		}
	}
	// Whoever pulls spreads what it asks for over all that have it.
	rand.Shuffle(len(found.Hosts), func(i, j int) { found.Hosts[i], found.Hosts[j] = found.Hosts[j], found.Hosts[i] })
	return found, true
}

func (p *Peers) ask(ctx context.Context, address url.URL) []answer {
	var mu sync.Mutex // guards answers
	var answers []answer
	var group sync.WaitGroup
	slots := make(chan struct{}, asking)
	for _, peer := range p.list() {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			at := address
			at.Host = peer.String()
			if a, err := p.head(ctx, at); err == nil {
				mu.Lock()
				answers = append(answers, a)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return answers
}

func (p *Peers) head(ctx context.Context, at url.URL) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, at.String(), nil)
	if err != nil {
		return answer{}, err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	d, err := digest.Parse(response.Header.Get(digestHeader))
	if err != nil || response.StatusCode != http.StatusOK || response.ContentLength <= 0 || response.ContentLength > maxManifest {
		return answer{}, fmt.Errorf("it answers %s", response.Status)
	}
	updated, _ := strconv.ParseInt(response.Header.Get(updatedHeader), 10, 64) // 0: asked by digest
	return answer{host: at.Host, updated: updated, target: ocispec.Descriptor{
		MediaType: response.Header.Get("Content-Type"), Digest: d, Size: response.ContentLength,
	}}, nil
}

// NewTransport makes one whose connections end when nothing comes for idle: a
// server that stalls holds up nobody for long.
func NewTransport(config *tls.Config, idle time.Duration) *http.Transport {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &impatient{c, idle}, nil
		},
		TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: idle, IdleConnTimeout: idle, MaxIdleConnsPerHost: 4,
	}
}

// impatient waits for each piece for a while only.
type impatient struct {
	net.Conn
	patience time.Duration
}

// Read implements net.Conn.
func (c *impatient) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.patience)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}
