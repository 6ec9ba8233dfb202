package containerd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/headway-sh/headway/nodeagent/registry"
	"github.com/headway-sh/headway/nodeagent/runtime"
)

const (
	// stall is how long a registry may say nothing in the midst of an answer.
	stall = time.Minute
	// peersPatience is how long a registry is still waited for that does not say
	// what a tag means, when other nodes know.
	peersPatience = 2 * time.Second
	// peersLimit bounds a transfer from other nodes; the registry comes then.
	peersLimit = 10 * time.Minute
)

// Registries are where a registry's images are to be had, in order.
type Registries interface {
	Endpoints(registry string) ([]registry.Endpoint, error)
}

// Peers are the other nodes of the cluster.
type Peers interface {
	Find(ctx context.Context, ref string) (registry.Found, bool)
	Client() *http.Client
}

// Pull implements runtime.Images. What a tag means the registry says, and other
// nodes where it says nothing; the content comes from other nodes as far as they
// have it.
//
//	digest ─────────────────────────────▶ ┐ other nodes ──┐ digests are
//	tag ─▶ registry's answer, or nobody's │               ├ checked
//	       or a refusal: other nodes' ──▶ ┘ registry ─────┘
func (r *Runtime) Pull(ctx context.Context, ref string, credentials []runtime.Credentials) (runtime.Pulled, error) {
	full, err := runtime.NormalizeReference(ref)
	if err != nil {
		return runtime.Pulled{}, fmt.Errorf("pull: %w", err)
	}
	p, err := r.plan(full, credentials)
	if err != nil {
		return runtime.Pulled{}, fmt.Errorf("pull image %q: %w", full, err)
	}
	out, err := p.run(ctx)
	if err == nil {
		out.Image, err = r.Image(ctx, full)
	}
	if err != nil {
		return runtime.Pulled{}, fmt.Errorf("pull image %q: %w", full, err)
	}
	return out, nil
}

// pull is one on its way.
type pull struct {
	*Runtime
	ref         string
	named       reference.Named
	endpoints   []registry.Endpoint
	credentials []runtime.Credentials
}

func (r *Runtime) plan(ref string, credentials []runtime.Credentials) (*pull, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, err
	}
	p := &pull{Runtime: r, ref: ref, named: named, credentials: credentials, endpoints: []registry.Endpoint{{}}}
	if r.config.Registries != nil {
		p.endpoints, err = r.config.Registries.Endpoints(reference.Domain(named))
	}
	return p, err
}

// resolved is what a reference means and who has said so.
type resolved struct {
	target   ocispec.Descriptor
	resolver remotes.Resolver
	pulled   runtime.Pulled
}

func (p *pull) run(ctx context.Context) (runtime.Pulled, error) {
	_, exact := p.named.(reference.Canonical)
	found, known := registry.Found{}, false
	if exact {
		if found, known = p.find(ctx, p.ref); known && p.fromPeers(ctx, found) == nil {
			return runtime.Pulled{}, nil
		}
		known = false // they have failed: not again
	}
	at, err := p.resolve(ctx, exact, &found, &known)
	if err != nil {
		return runtime.Pulled{}, err
	}
	if at == nil {
		return runtime.Pulled{}, p.fromPeers(ctx, found)
	}
	// What the registry gives only to who has credentials no node gives away.
	if !exact && at.pulled.Credentials == nil && !at.pulled.Node && p.config.Peers != nil {
		if !known || found.Target.Digest != at.target.Digest {
			found, known = p.find(ctx, reference.TrimNamed(p.named).Name()+"@"+at.target.Digest.String())
		}
		if known && p.fromPeers(ctx, found) == nil {
			return at.pulled, nil
		}
	}
	return at.pulled, p.fetch(ctx, fixed{at.resolver, p.ref, at.target}, false)
}

func (p *pull) find(ctx context.Context, ref string) (registry.Found, bool) {
	if p.config.Peers == nil {
		return registry.Found{}, false
	}
	return p.config.Peers.Find(ctx, ref)
}

// resolve asks the registry what the reference means and, for a tag, other nodes
// beside it. Nothing and no error says that what they have found counts.
func (p *pull) resolve(ctx context.Context, exact bool, found *registry.Found, known *bool) (*resolved, error) {
	if exact || p.config.Peers == nil {
		return p.ask(ctx)
	}
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		*resolved
		error
	}
	answers, peers := make(chan answer, 1), make(chan bool, 1)
	go func() {
		at, err := p.ask(asking)
		answers <- answer{at, err}
	}()
	var others registry.Found
	go func() {
		var ok bool
		others, ok = p.find(asking, p.ref)
		peers <- ok
	}()
	var patience <-chan time.Time
	for waiting := true; ; {
		select {
		case a := <-answers:
			if waiting {
				*known = <-peers // they are heard within a second or two
			}
			*found = others
			if a.error != nil && *known {
				return nil, nil
			}
			return a.resolved, a.error
		case ok := <-peers:
			waiting, *known = false, ok
			if ok {
				timer := p.clock.NewTimer(peersPatience)
				defer timer.Stop()
				patience = timer.C()
			}
		case <-patience:
			cancel()
			<-answers
			*found = others
			return nil, ctx.Err()
		}
	}
}

// ask tries the places that have the registry's images with each of the
// credentials.
func (p *pull) ask(ctx context.Context) (*resolved, error) {
	tries := []*runtime.Credentials{nil}
	if len(p.credentials) > 0 {
		tries = nil
		for i := range p.credentials {
			tries = append(tries, &p.credentials[i])
		}
	}
	var errs []error
	for _, c := range tries {
		used := &usage{}
		resolver := docker.NewResolver(docker.ResolverOptions{Hosts: p.hosts(c, used)})
		_, target, err := resolver.Resolve(p.in(ctx), p.ref)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		at := &resolved{target: target, resolver: resolver}
		at.pulled.Node = used.node.Load()
		if !at.pulled.Node {
			at.pulled.Credentials = c
		}
		return at, nil
	}
	return nil, errors.Join(errs...)
}

// usage says whether the credentials that were asked for last, which are those
// that opened the registry, are the node's. Layers are fetched side by side.
type usage struct{ node atomic.Bool }

// hosts are the places as containerd's client wants them.
func (p *pull) hosts(c *runtime.Credentials, used *usage) docker.RegistryHosts {
	return func(name string) ([]docker.RegistryHost, error) {
		var all []docker.RegistryHost
		for _, e := range p.endpoints {
			host := docker.RegistryHost{Host: name, Scheme: "https", Path: "/v2", Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve}
			own := c
			if e.Credentials != nil && (c == nil || e.URL != nil) {
				own = e.Credentials // a pod's secret is for the registry that it names
			} else if e.URL != nil {
				own = nil
			}
			if e.URL != nil {
				host.Scheme, host.Host, host.Path = e.URL.Scheme, e.URL.Host, path.Join("/", e.URL.Path, "v2")
			} else {
				var err error
				if host.Host, err = docker.DefaultHost(name); err != nil {
					return nil, err
				}
				if local, err := docker.MatchLocalhost(host.Host); err == nil && local && e.TLS == nil {
					host.Scheme = "http"
				}
			}
			host.Client = &http.Client{Transport: rewriting(registry.NewTransport(e.TLS, stall), e.Rewrite, host.Path)}
			auth := []docker.AuthorizerOpt{docker.WithAuthClient(host.Client)}
			if own != nil {
				auth = append(auth, docker.WithAuthCreds(func(string) (string, string, error) {
					used.node.Store(own == e.Credentials)
					if own.IdentityToken != "" {
						return "", own.IdentityToken, nil
					}
					return own.Username, own.Password, nil
				}))
			}
			host.Authorizer = docker.NewDockerAuthorizer(auth...)
			all = append(all, host)
		}
		return all, nil
	}
}

// rewriting changes repositories on their way to a mirror.
func rewriting(to http.RoundTripper, rewrite func(string) string, prefix string) http.RoundTripper {
	if rewrite == nil {
		return to
	}
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		rest, ok := strings.CutPrefix(request.URL.Path, prefix+"/")
		if name, _, found := registry.Split(rest); ok && found {
			request = request.Clone(request.Context())
			request.URL.Path = prefix + "/" + rewrite(name) + rest[len(name):]
		}
		return to.RoundTrip(request)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// fromPeers fetches what other nodes have. Theirs is believed as far as it has
// the digest.
func (p *pull) fromPeers(ctx context.Context, found registry.Found) error {
	ctx, cancel := context.WithTimeout(ctx, peersLimit)
	defer cancel()
	resolver := docker.NewResolver(docker.ResolverOptions{Hosts: func(string) ([]docker.RegistryHost, error) {
		var all []docker.RegistryHost
		for _, host := range found.Hosts {
			all = append(all, docker.RegistryHost{Client: p.config.Peers.Client(), Host: host, Scheme: "https", Path: "/v2", Capabilities: docker.HostCapabilityPull})
		}
		return all, nil
	}})
	err := p.fetch(ctx, fixed{resolver, p.ref, found.Target}, true)
	if err != nil {
		p.log.Info("image not had from other nodes", "image", p.ref, "nodes", found.Hosts, "err", err)
	}
	return err
}

// fetch gets an image's content. What came of one that did not succeed is thrown
// away if it is whole, and so has another digest than it should, or if what has
// come so far cannot be trusted: the next try would go on with it.
func (p *pull) fetch(ctx context.Context, from fixed, untrusted bool) error {
	var mu sync.Mutex // guards parts
	var parts []ocispec.Descriptor
	_, err := p.client.Pull(p.in(ctx), p.ref, client.WithResolver(from), client.WithPullUnpack, client.WithPullSnapshotter(p.config.Snapshotter),
		client.WithImageHandler(images.HandlerFunc(func(_ context.Context, part ocispec.Descriptor) ([]ocispec.Descriptor, error) {
			mu.Lock()
			defer mu.Unlock()
			parts = append(parts, part)
			return nil, nil
		})))
	if err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	mu.Lock()
	defer mu.Unlock()
	store := p.client.ContentStore()
	for _, part := range parts {
		ref := remotes.MakeRefKey(p.in(ctx), part)
		if s, e := store.Status(p.in(ctx), ref); e == nil && (untrusted || s.Offset >= part.Size) {
			if e := store.Abort(p.in(ctx), ref); e != nil {
				p.log.Warn("part of an image not thrown away", "part", ref, "err", e)
			}
		}
	}
	return err
}

// fixed is a resolver for a reference whose meaning is known.
type fixed struct {
	remotes.Resolver
	ref    string
	target ocispec.Descriptor
}

// Resolve implements remotes.Resolver.
func (f fixed) Resolve(context.Context, string) (string, ocispec.Descriptor, error) {
	return f.ref, f.target, nil
}
