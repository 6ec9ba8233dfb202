package rest

import (
	"context"
	"iter"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/store"
)

// Kinds is the kind table.
type Kinds interface {
	// Find returns the kind that serves a resource in a version.
	Find(resource schema.GroupVersionResource) (*kind.Kind, bool)
	// All returns every kind, in an order that does not change.
	All() []*kind.Kind
}

// Snapshot is all objects at one revision, with their shared encodings.
type Snapshot interface {
	txn.View
	// Entry returns the shared entry of one object.
	Entry(ref txn.Ref) (*store.Entry, bool)
	// Entries yields a resource's entries in the order of namespace and name,
	// beginning after the given reference when it is not nil. An empty
	// namespace means all of them.
	Entries(resource schema.GroupResource, namespace string, after *txn.Ref) iter.Seq[*store.Entry]
}

// Reader is the reading side of the store.
type Reader interface {
	// Current returns the newest state: what any acknowledged write has left
	// is in it.
	Current(ctx context.Context) (Snapshot, error)
	// Latest returns what this server has at once; it may lag behind others.
	Latest() Snapshot
	// NotBefore waits until this server has reached a revision.
	NotBefore(ctx context.Context, revision int64) (Snapshot, error)
	// Watch begins right after a revision. It returns an expired (410) status
	// error when the events since then are no longer known.
	Watch(ctx context.Context, resource schema.GroupResource, namespace string, after int64) (Watcher, error)
}

// Batch is what a watcher gets at once: all the events of one transaction, or
// none and only progress.
type Batch struct {
	// Revision is reached once the batch is handled.
	Revision int64
	Events   []*store.Event
}

// Watcher is one watch on a resource.
type Watcher interface {
	// Next blocks until there are batches and returns them in order. It
	// returns an error when the watch cannot go on: the context's, or an
	// expired (410) status error for a watcher that fell behind.
	Next(ctx context.Context) ([]Batch, error)
	// Progress is a revision up to which Next has returned everything.
	Progress() int64
	// Close ends the watch.
	Close()
}

// WriteRequest is one change that a client asks for.
type WriteRequest struct {
	Identity txn.Identity
	Change   txn.Change
	// DryRun goes through everything but writes nothing.
	DryRun bool
}

// Writer is the write path for one object at a time.
type Writer interface {
	// Write returns the outcome, whose After carries its new resourceVersion,
	// or an API status error.
	Write(ctx context.Context, request WriteRequest) (txn.Outcome, error)
}

// Authenticator finds out who sent a request.
type Authenticator interface {
	// Authenticate returns the identity, or false when the request carries no
	// credentials, or an error when it carries wrong ones. It sets everything
	// of the identity but Address and UserAgent.
	Authenticate(r *http.Request) (txn.Identity, bool, error)
}

// TokenAuthenticator answers TokenReviews.
type TokenAuthenticator interface {
	// ReviewToken fills in the status of a review; it returns an error only
	// when it could not find out.
	ReviewToken(ctx context.Context, spec authenticationv1.TokenReviewSpec) (authenticationv1.TokenReviewStatus, error)
}

// Attributes say what somebody wants to do.
type Attributes struct {
	Identity txn.Identity
	Verb     string
	// Resource attributes; all empty for a path.
	Group, Version, Resource, Subresource, Namespace, Name string
	// Path is set for what is no resource, such as /metrics.
	Path string
}

// Authorizer decides by what a View shows.
type Authorizer interface {
	// Authorize tells whether it is allowed, and in words why (not).
	Authorize(ctx context.Context, view txn.View, a Attributes) (allowed bool, reason string, err error)
	// Rules lists what an identity may do in a namespace.
	Rules(ctx context.Context, view txn.View, identity txn.Identity, namespace string) (authorizationv1.SubjectRulesReviewStatus, error)
}

// Connector serves the streams behind connect subresources: log, exec, attach
// and portforward of pods, proxy of pods, services and nodes.
type Connector interface {
	// Connect answers the request itself. The object is the shared stored one.
	// An error is returned only when nothing has been written yet.
	Connect(w http.ResponseWriter, r *http.Request, info *RequestInfo, identity txn.Identity, o txn.Object) error
}

// TokenIssuer makes service account tokens.
type TokenIssuer interface {
	// IssueToken fills in the status of a request for the account.
	IssueToken(ctx context.Context, view txn.View, identity txn.Identity, account txn.Object, request *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error)
}

// Record is what an audit learns about a finished request.
type Record struct {
	Info     *RequestInfo
	Identity txn.Identity
	Request  *http.Request
	Code     int
}

// Auditor is told about every request when its answer is complete.
type Auditor interface {
	Audit(ctx context.Context, record Record)
}
