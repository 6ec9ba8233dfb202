package rest

import (
	"context"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/store"
	"github.com/headway-sh/headway/apiserver/write"
)

// Kinds is the kind table.
type Kinds interface {
	// ByGVR returns the kind that serves a resource in a version on a View.
	ByGVR(view txn.View, resource schema.GroupVersionResource) (*kind.Kind, bool)
	// Attach makes sure that the store has the resource of a custom kind.
	Attach(ctx context.Context, row *kind.Kind) error
}

// Reader is the reading side of the store, with the store's own promises.
type Reader interface {
	// Snapshot is what this server has at once; it may lag behind others.
	Snapshot() *store.Snapshot
	// Current has what any acknowledged write has left.
	Current(ctx context.Context) (*store.Snapshot, error)
	// WaitFor waits until Snapshot has reached a revision.
	WaitFor(ctx context.Context, revision int64) error
	// At shows one resource as it was at a revision, or *store.ExpiredError.
	At(ctx context.Context, revision int64, resource schema.GroupResource) (*store.Snapshot, error)
	// Watch begins after a revision, or returns *store.ExpiredError.
	Watch(ctx context.Context, options store.WatchOptions) (*store.Watcher, error)
}

// Writer is the write path for what one request may change.
type Writer interface {
	// Do makes one change; errors are API statuses, warnings come with them.
	Do(ctx context.Context, identity txn.Identity, change txn.Change, options write.Options) (write.Done, error)
	// DeleteCollection deletes what is selected and gives the last states.
	DeleteCollection(ctx context.Context, identity txn.Identity, c write.Collection, options write.Options) ([]txn.Object, []string, error)
	// Evict deletes a pod as its disruption budget allows.
	Evict(ctx context.Context, identity txn.Identity, pod txn.Ref, eviction *policyv1.Eviction, options write.Options) (write.Done, error)
	// Admit asks admission about a request that writes no object.
	Admit(ctx context.Context, identity txn.Identity, change txn.Change, operation write.Operation, asked runtime.Object) (write.Done, error)
}

// Authenticator finds out who sent a request.
type Authenticator interface {
	// Authenticate returns the identity, or false when the request carries no
	// credentials, or an error when it carries wrong ones.
	Authenticate(view txn.View, r *http.Request) (txn.Identity, bool, error)
	// Token tells whose token it is, and for which of the audiences (nil: this
	// server's own) it is meant; one of them it must. It answers TokenReviews.
	Token(ctx context.Context, view txn.View, token string, audiences []string) (txn.Identity, []string, error)
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
	// Issue answers a request for an account, which it looks up on the View.
	Issue(view txn.View, namespace, name string, request *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error)
}

// Rules lists what an identity may do in a namespace, for rules reviews.
// missing says why that is not all; empty: it is.
type Rules func(view txn.View, identity txn.Identity, namespace string) (rules []rbacv1.PolicyRule, missing string)
