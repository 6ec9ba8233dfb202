package repo

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/revlist"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
)

// The limits of talking to a remote.
const (
	FetchTimeout = 5 * time.Minute
	MaxFetch     = 1 << 30 // bytes of one answer
	MaxRefs      = 50_000

	stallTimeout = 30 * time.Second
)

// Remote is how to reach a repository over https.
type Remote struct {
	URL                       string
	Token, Username, Password string
	CABundle                  []byte
}

// OpenMirror opens the bare repository that mirrors a remote, and makes it
// when it is not there.
func OpenMirror(dir string) (*Repository, error) {
	for _, sub := range []string{"objects/pack", "refs/heads"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("make mirror: %w", err)
		}
	}
	for name, content := range map[string]string{"HEAD": "ref: refs/heads/main\n", "config": "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			continue
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return nil, fmt.Errorf("make mirror: %w", err)
		}
	}
	return Open(dir)
}

// client makes the transport for one conversation. It talks to the remote's
// host only, with its own roots when it is given some, and takes no more than
// MaxFetch bytes.
func (m *Remote) client() (transport.Transport, *transport.Endpoint, transport.AuthMethod, error) {
	ep, err := transport.NewEndpoint(m.URL)
	if err != nil || ep.Protocol != "https" {
		return nil, nil, nil, fmt.Errorf("%s is not an https URL", m.URL)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(m.CABundle) > 0 {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(m.CABundle)
	}
	client := &http.Client{
		Transport: &capped{&http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, ForceAttemptHTTP2: true, DisableKeepAlives: true,
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: stallTimeout,
		}},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > 3 || req.URL.Scheme != "https" || req.URL.Host != via[0].URL.Host {
				return fmt.Errorf("redirected to %s: only redirects on the same host are followed", req.URL.Host)
			}
			return nil
		},
	}
	var auth transport.AuthMethod
	switch {
	case m.Token != "":
		// The forges take a token as a password, with any name or the one that
		// belongs to it; as a bearer token few do.
		auth = &githttp.BasicAuth{Username: cmp.Or(m.Username, "git"), Password: m.Token}
	case m.Username != "" || m.Password != "":
		auth = &githttp.BasicAuth{Username: m.Username, Password: m.Password}
	}
	return githttp.NewClient(client), ep, auth, nil
}

// capped bounds the bytes of every answer and how long it may stall.
type capped struct{ next http.RoundTripper }

func (c *capped) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	res, err := c.next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel(err)
		return nil, err
	}
	stall := time.AfterFunc(stallTimeout, func() { cancel(errors.New("the remote stalls")) })
	res.Body = &cappedBody{ReadCloser: res.Body, left: MaxFetch, stall: stall, cancel: cancel, ctx: ctx}
	return res, nil
}

type cappedBody struct {
	io.ReadCloser
	left   int64
	stall  *time.Timer
	cancel context.CancelCauseFunc
	ctx    context.Context // of the one answer that this is the body of
}

func (b *cappedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.stall.Reset(stallTimeout)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("the remote's answer is over %d bytes: %w", int64(MaxFetch), ErrTooLarge)
	}
	if err != nil && err != io.EOF && context.Cause(b.ctx) != nil {
		err = context.Cause(b.ctx)
	}
	return n, err
}

func (b *cappedBody) Close() error {
	b.stall.Stop()
	b.cancel(nil)
	return b.ReadCloser.Close()
}

// Fetch brings the mirror up to date: every branch, tag and pull request
// reference that the remote has, and none that it has no longer. Objects come
// first, references last, so that a fetch that breaks off changes nothing.
func (r *Repository) Fetch(ctx context.Context, from Remote) error {
	ctx, cancel := context.WithTimeout(ctx, FetchTimeout)
	defer cancel()
	client, ep, auth, err := from.client()
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	session, err := client.NewUploadPackSession(ep, auth)
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	defer session.Close()
	adv, err := session.AdvertisedReferencesContext(ctx)
	if errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("fetch %s: %w", ep.Host, err)
	}
	if len(adv.References) > MaxRefs {
		return fmt.Errorf("fetch %s: it has %d references (limit %d)", ep.Host, len(adv.References), MaxRefs)
	}
	wanted := map[string]ID{}
	for name, hash := range adv.References {
		if mirrored(name) && invalidName(name) == nil {
			wanted[name] = ID(hash)
		}
	}
	if err := r.fetchObjects(ctx, session, adv, wanted); err != nil {
		return fmt.Errorf("fetch %s: %w", ep.Host, err)
	}
	return r.moveRefs(wanted, adv)
}

func mirrored(name string) bool {
	return strings.HasPrefix(name, "refs/heads/") || strings.HasPrefix(name, "refs/tags/") && !strings.HasSuffix(name, "^{}") ||
		strings.HasPrefix(name, "refs/pull/") || strings.HasPrefix(name, "refs/merge-requests/")
}

// invalidName refuses names that would lead out of the mirror.
func invalidName(name string) error {
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") || strings.ContainsAny(part, "\x00\\ ~^:?*[") || len(part) > MaxName {
			return fmt.Errorf("the remote has the reference name %q", shorten(name))
		}
	}
	return nil
}

func (r *Repository) fetchObjects(ctx context.Context, session transport.UploadPackSession, adv *packp.AdvRefs, wanted map[string]ID) error {
	request := packp.NewUploadPackRequestFromCapabilities(adv.Capabilities)
	seen := map[ID]bool{}
	r.mu.Lock()
	for _, id := range wanted {
		if seen[id] {
			continue
		}
		seen[id] = true
		if r.storage.HasEncodedObject(plumbing.Hash(id)) != nil {
			request.Wants = append(request.Wants, plumbing.Hash(id))
		}
	}
	refs, err := r.storage.IterReferences()
	if err == nil {
		err = refs.ForEach(func(ref *plumbing.Reference) error {
			if ref.Type() == plumbing.HashReference && len(request.Haves) < 256 {
				request.Haves = append(request.Haves, ref.Hash())
			}
			return nil
		})
	}
	r.mu.Unlock()
	if err != nil || len(request.Wants) == 0 {
		return err
	}
	response, err := session.UploadPack(ctx, request)
	if errors.Is(err, transport.ErrEmptyUploadPackRequest) {
		return nil
	}
	if err != nil {
		return err
	}
	defer response.Close()
	var reader io.Reader = response
	switch {
	case request.Capabilities.Supports(capability.Sideband64k):
		reader = sideband.NewDemuxer(sideband.Sideband64k, response)
	case request.Capabilities.Supports(capability.Sideband):
		reader = sideband.NewDemuxer(sideband.Sideband, response)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return packfile.UpdateObjectStorage(r.storage, reader)
}

// moveRefs makes the mirror's references those of the remote.
func (r *Repository) moveRefs(wanted map[string]ID, adv *packp.AdvRefs) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	have := map[string]ID{}
	refs, err := r.storage.IterReferences()
	if err != nil {
		return err
	}
	err = refs.ForEach(func(ref *plumbing.Reference) error {
		if ref.Type() == plumbing.HashReference && ref.Name() != plumbing.HEAD {
			have[ref.Name().String()] = ID(ref.Hash())
		}
		return nil
	})
	if err != nil {
		return err
	}
	for name := range have {
		if _, ok := wanted[name]; !ok && !strings.HasPrefix(name, ReportPrefix) {
			if err := r.storage.RemoveReference(plumbing.ReferenceName(name)); err != nil {
				return fmt.Errorf("remove %s: %w", name, err)
			}
		}
	}
	for name, id := range wanted {
		if have[name] == id {
			continue
		}
		if err := r.storage.SetReference(plumbing.NewHashReference(plumbing.ReferenceName(name), plumbing.Hash(id))); err != nil {
			return fmt.Errorf("move %s: %w", name, err)
		}
	}
	head, err := adv.AllReferences()
	if err != nil {
		return nil // without a symbolic HEAD the mirror keeps its own
	}
	if ref, err := head.Reference(plumbing.HEAD); err == nil && ref.Type() == plumbing.SymbolicReference {
		return r.storage.SetReference(ref)
	}
	return nil
}

// Push brings one reference of the mirror to the remote, without force. When
// the remote has moved, the mirror takes over what it has, and ErrRefMoved is
// returned: the caller builds anew on top.
func (r *Repository) Push(ctx context.Context, to Remote, name string) error {
	ctx, cancel := context.WithTimeout(ctx, FetchTimeout)
	defer cancel()
	client, ep, auth, err := to.client()
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	session, err := client.NewReceivePackSession(ep, auth)
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	defer session.Close()
	adv, err := session.AdvertisedReferencesContext(ctx)
	if err != nil && !errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return fmt.Errorf("push to %s: %w", ep.Host, err)
	}
	tip, err := r.Tip(name)
	if err != nil {
		return err
	}
	theirs := ID(adv.References[name])
	if theirs == tip {
		return nil
	}
	if !theirs.IsZero() {
		ok, err := r.IsAncestor(ctx, theirs, tip)
		if err != nil || !ok {
			if fetchErr := r.Fetch(ctx, to); fetchErr != nil {
				return fetchErr
			}
			return fmt.Errorf("push %s: %w", name, ErrRefMoved)
		}
	}
	request := packp.NewReferenceUpdateRequestFromCapabilities(adv.Capabilities)
	request.Commands = []*packp.Command{{Name: plumbing.ReferenceName(name), Old: plumbing.Hash(theirs), New: plumbing.Hash(tip)}}
	var known []plumbing.Hash
	if !theirs.IsZero() {
		known = append(known, plumbing.Hash(theirs))
	}
	reader, writer := io.Pipe()
	request.Packfile = reader
	sent := make(chan error, 1)
	go func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		objects, err := revlist.Objects(r.storage, []plumbing.Hash{plumbing.Hash(tip)}, known)
		if err == nil {
			_, err = packfile.NewEncoder(writer, r.storage, false).Encode(objects, 10)
		}
		sent <- writer.CloseWithError(err)
	}()
	status, err := session.ReceivePack(ctx, request)
	_ = reader.Close() // ends the encoder when the remote did not read it all
	<-sent
	if err == nil && status != nil {
		err = status.Error()
	}
	if err != nil {
		return fmt.Errorf("push %s to %s: %w", name, ep.Host, err)
	}
	return nil
}
