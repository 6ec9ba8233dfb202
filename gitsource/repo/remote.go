package repo

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
)

// Remote is how to reach a repository over https or ssh.
type Remote struct {
	// URL is https://host/path, ssh://user@host/path or user@host:path.
	URL string
	// Token is a password for https that goes with any user name. BearerToken
	// is sent as such.
	Token, BearerToken string
	// Username and Password are for https; over ssh the password opens the
	// private key.
	Username, Password string
	// CABundle, PEM, takes the place of the system's authorities.
	CABundle []byte
	// ClientCert and ClientKey, PEM, are shown to an https server.
	ClientCert, ClientKey []byte
	// Identity is the private key for ssh, and KnownHosts must name the host.
	Identity, KnownHosts []byte
	// Proxy is the URL of a proxy: http, https or socks5 for https; socks5 for
	// ssh. Empty: none for ssh, the environment's for https.
	Proxy string
	// NoProxy are the hosts that are reached without Proxy, as in the variable
	// NO_PROXY.
	NoProxy string
	// Refs are patterns, as path.Match has them, of the references that are
	// mirrored beside all branches and tags.
	Refs []string
	// Limits of each conversation; zero ones have their defaults.
	Limits Limits
}

// Limits bound what a remote can cost, whatever it does.
type Limits struct {
	Timeout   time.Duration // of a whole conversation
	Stall     time.Duration // in which not a byte comes
	RefBytes  int64         // of the list of references
	Refs      int           // how many of them
	PackBytes int64         // of a pack as it comes
	// Object is the size of the largest single object, and Inflated of all in
	// one pack together.
	Object, Inflated int64
	Objects          uint32 // in one pack
}

// DefaultLimits leave room for large repositories and none for floods.
var DefaultLimits = Limits{
	Timeout: 5 * time.Minute, Stall: 30 * time.Second, RefBytes: 8 << 20, Refs: 50_000,
	PackBytes: 1 << 30, Object: 64 << 20, Inflated: 16 << 30, Objects: 1 << 20,
}

func (l Limits) orDefault() Limits {
	d := DefaultLimits
	return Limits{
		Timeout: cmp.Or(l.Timeout, d.Timeout), Stall: cmp.Or(l.Stall, d.Stall), RefBytes: cmp.Or(l.RefBytes, d.RefBytes), Refs: cmp.Or(l.Refs, d.Refs),
		PackBytes: cmp.Or(l.PackBytes, d.PackBytes), Object: cmp.Or(l.Object, d.Object), Inflated: cmp.Or(l.Inflated, d.Inflated), Objects: cmp.Or(l.Objects, d.Objects),
	}
}

// ErrStalled says that a remote kept the line and sent nothing.
var ErrStalled = errors.New("the remote stalls")

// ErrEmptied says that a remote has no references, where it had some. The
// mirror keeps what it has: nobody means that.
var ErrEmptied = errors.New("the repository has become empty; what is known of it stays")

// LaterError says that a remote asked to be left alone for a while.
type LaterError struct {
	Status string
	After  time.Duration // zero when it did not say how long
}

func (e *LaterError) Error() string {
	if e.After == 0 {
		return "the remote answers " + e.Status
	}
	return fmt.Sprintf("the remote answers %s and wants %s of quiet", e.Status, e.After)
}

// conversation is one exchange with a remote's upload-pack or receive-pack:
// refs, then at most one of fetch and push. It ends with its context.
type conversation interface {
	// refs gives at least the references with the prefixes, as far as there are.
	refs(ctx context.Context, prefixes []string) (*packp.AdvRefs, error)
	fetch(ctx context.Context, request *packp.UploadPackRequest) (io.ReadCloser, error)
	push(ctx context.Context, request *packp.ReferenceUpdateRequest) (*packp.ReportStatus, error)
	close()
}

// converse begins a conversation with a service, such as git-upload-pack; host
// is for messages.
func (m *Remote) converse(ctx context.Context, service string, limits Limits) (c conversation, host string, err error) {
	ep, err := transport.NewEndpoint(m.URL)
	if err != nil {
		return nil, "", fmt.Errorf("%s is not a URL of a repository", m.URL)
	}
	switch ep.Protocol {
	case "https":
		c, err = m.overHTTPS(ep, service, limits)
	case "ssh":
		c, err = m.overSSH(ctx, ep, service, limits)
	default:
		err = errors.New("only https and ssh are spoken")
	}
	return c, ep.Host, err
}

// Fetch brings the mirror up to date: every branch, tag and reference of
// from.Refs that the remote has, and none that it has no longer. Objects come
// first, references last, so that a fetch that breaks off changes nothing. It
// tells whether a reference has moved; when none has, only the list of
// references went over the line.
func (r *Repository) Fetch(ctx context.Context, from Remote) (moved bool, err error) {
	limits := from.Limits.orDefault()
	ctx, cancel := context.WithTimeout(ctx, limits.Timeout)
	defer cancel()
	talk, host, err := from.converse(ctx, transport.UploadPackServiceName, limits)
	if err != nil {
		return false, fmt.Errorf("fetch %s: %w", host, err)
	}
	defer talk.close()
	adv, err := talk.refs(ctx, prefixes(from.Refs))
	if errors.Is(err, transport.ErrEmptyRemoteRepository) {
		adv, err = packp.NewAdvRefs(), nil
	}
	if err != nil {
		return false, fmt.Errorf("fetch %s: %w", host, cause(ctx, err))
	}
	wanted := map[string]ID{}
	for name, hash := range adv.References {
		if wants(from.Refs, name) {
			wanted[name] = ID(hash)
		}
	}
	if len(wanted) > limits.Refs {
		return false, fmt.Errorf("fetch %s: it has %d references (limit %d): %w", host, len(wanted), limits.Refs, ErrTooLarge)
	}
	have, err := r.references()
	if err != nil {
		return false, fmt.Errorf("fetch %s: %w", host, err)
	}
	if len(wanted) == 0 && holds(have) {
		return false, fmt.Errorf("fetch %s: %w", host, ErrEmptied)
	}
	if err := r.fetchObjects(ctx, talk, adv, have, wanted, limits); err != nil {
		return false, fmt.Errorf("fetch %s: %w", host, cause(ctx, err))
	}
	if moved, err = r.moveRefs(have, wanted, adv); err != nil {
		return moved, fmt.Errorf("fetch %s: %w", host, err)
	}
	return moved, nil
}

// holds tells whether there are references that are not our own.
func holds(have map[string]ID) bool {
	for name := range have {
		if !strings.HasPrefix(name, ReportPrefix) {
			return true
		}
	}
	return false
}

// cause prefers why a context ended to the many errors that follow from it.
func cause(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) && !errors.Is(err, ErrStalled) {
		return fmt.Errorf("not done in time: %w", context.DeadlineExceeded)
	}
	return err
}

func mirrored(name string) bool {
	return strings.HasPrefix(name, "refs/heads/") || strings.HasPrefix(name, "refs/tags/") && !strings.HasSuffix(name, "^{}") ||
		strings.HasPrefix(name, "refs/pull/") || strings.HasPrefix(name, "refs/merge-requests/")
}

// IsRefName tells whether the full name of a reference is one that is taken in.
func IsRefName(name string) bool { return invalidName(name) == nil }

// invalidName refuses names that would lead out of the mirror.
func invalidName(name string) error {
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") || strings.ContainsAny(part, "\x00\\ ~^:?*[") || len(part) > MaxName {
			return fmt.Errorf("the remote has the reference name %q", shorten(name))
		}
	}
	return nil
}

// maxHaves is how many references a request tells that the mirror has.
const maxHaves = 256

// fetchObjects brings everything that new references need. What a reference
// here names is here whole: that is checked before it moves.
func (r *Repository) fetchObjects(ctx context.Context, talk conversation, adv *packp.AdvRefs, have, wanted map[string]ID, limits Limits) error {
	request := packp.NewUploadPackRequestFromCapabilities(adv.Capabilities)
	known := map[ID]bool{}
	for _, id := range have {
		known[id] = true
	}
	var likely []plumbing.Hash // of references that have moved
	asked := map[ID]bool{}
	for name, id := range wanted {
		if old, ok := have[name]; ok && old != id {
			likely = append(likely, plumbing.Hash(old))
		}
		if !known[id] && !asked[id] {
			asked[id] = true
			request.Wants = append(request.Wants, plumbing.Hash(id))
		}
	}
	if len(request.Wants) == 0 {
		return nil
	}
	for _, id := range have {
		likely = append(likely, plumbing.Hash(id))
	}
	request.Haves = likely[:min(len(likely), maxHaves)]
	response, err := talk.fetch(ctx, request)
	if err != nil {
		return err
	}
	defer response.Close()
	said := &lastWords{}
	fresh, err := r.storePack(ctx, demultiplex(response, request.Capabilities, said), limits)
	if words := said.String(); err != nil && words != "" {
		return fmt.Errorf("%w (the remote says %q)", err, cut(words, maxQuote))
	}
	if err != nil {
		return err
	}
	for id := range asked {
		if err := r.complete(ctx, id, fresh); err != nil {
			return err
		}
	}
	return nil
}

func demultiplex(response io.Reader, caps *capability.List, progress io.Writer) io.Reader {
	kind := sideband.Sideband
	switch {
	case caps.Supports(capability.Sideband64k):
		kind = sideband.Sideband64k
	case !caps.Supports(capability.Sideband):
		return response
	}
	d := sideband.NewDemuxer(kind, response)
	d.Progress = progress
	return d
}

// lastWords keeps the newest that a remote says, for messages.
type lastWords struct {
	mu   sync.Mutex // guards said
	said bytes.Buffer
}

const (
	maxWords = 4096
	maxQuote = 300
)

func (l *lastWords) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.said.Len()+len(p) > maxWords {
		l.said.Reset()
	}
	l.said.Write(p[max(0, len(p)-maxWords):])
	return len(p), nil
}

func (l *lastWords) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(l.said.String())
}
