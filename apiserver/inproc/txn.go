package inproc

import (
	"context"
	"iter"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

// peerTxn is the transaction contract for one identity.
type peerTxn struct{ *Peer }

var _ txn.Interface = peerTxn{}

// Txn is the peer's access to transactions. Plans under another identity than
// the peer's need the permission to impersonate it.
func (p *Peer) Txn() txn.Interface { return peerTxn{p} }

func (t peerTxn) View(ctx context.Context) (txn.View, error) {
	view, err := t.server.Write.View(ctx)
	if err != nil {
		return nil, err
	}
	return &limited{View: view, peer: t.Peer, readable: map[schema.GroupResource]bool{}}, nil
}

func (t peerTxn) Plan(ctx context.Context, view txn.View, identity txn.Identity, changes []txn.Change) (*txn.Result, error) {
	if own, ok := view.(*limited); ok {
		view = own.View // planning sees everything, as every write does
	}
	switch {
	case identity.Name == "":
		identity = t.identity
	case identity.Name != t.identity.Name:
		if err := t.impersonate(view, identity); err != nil {
			return nil, err
		}
		identity.Impersonator = t.identity.Name
	default:
		identity.Groups, identity.UID, identity.Extra = t.identity.Groups, t.identity.UID, t.identity.Extra
	}
	if identity.UserAgent == "" {
		identity.UserAgent = t.identity.UserAgent
	}
	return t.server.Write.Plan(ctx, view, identity, changes)
}

// impersonate asks whether the peer may act as somebody else.
func (t peerTxn) impersonate(view txn.View, as txn.Identity) error {
	for _, a := range write.Impersonation(as) {
		if err := write.Authorize(t.server.Write.Authorizer, view, t.identity, a); err != nil {
			return err
		}
	}
	return nil
}

func (t peerTxn) Commit(ctx context.Context, result *txn.Result, options txn.CommitOptions) (*txn.Committed, error) {
	if t.epoch.Name != "" {
		if options.Epoch.Name != "" && options.Epoch != t.epoch {
			return nil, apierrors.NewBadRequest("the access is bound to another epoch")
		}
		options.Epoch = t.epoch
	}
	done, err := t.server.Write.Commit(ctx, result, options)
	if t.server.Audit != nil {
		t.server.Audit.Committed(t.identity, result, t.server.Write.Told(result), done, err)
	}
	return done, err
}

func (t peerTxn) Notes(ctx context.Context, prefix string) ([]txn.Note, error) {
	return t.server.Write.Notes(ctx, prefix)
}

func (t peerTxn) Acquire(ctx context.Context, name string) (txn.Epoch, error) {
	return t.server.Write.Acquire(ctx, name)
}

func (t peerTxn) Observe(f func(txn.Write)) (stop func()) { return t.server.Write.Observe(f) }

func (t peerTxn) Guard(g txn.Guard) (remove func()) { return t.server.Write.Guard(g) }

// limited shows a peer only the resources that it may list. It says so in the
// log, for a component that misses a permission would otherwise see an empty
// cluster.
type limited struct {
	txn.View
	peer *Peer

	mu       sync.Mutex // guards readable
	readable map[schema.GroupResource]bool
}

func (v *limited) may(resource schema.GroupResource) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	may, known := v.readable[resource]
	if known {
		return may
	}
	k := v.peer.server.Write.Kind(v.View, resource)
	if k == nil {
		return true // nothing is there to be seen
	}
	err := v.peer.may(v.View, k, "list", "", "")
	if err != nil {
		v.peer.server.Log.Warn("view hides a resource", "identity", v.peer.identity.Name, "err", err)
	}
	v.readable[resource] = err == nil
	return err == nil
}

func (v *limited) Get(ref txn.Ref) (txn.Object, bool) {
	if !v.may(ref.Resource) {
		return nil, false
	}
	return v.View.Get(ref)
}

func (v *limited) Each(resource schema.GroupResource, namespace string) iter.Seq[txn.Object] {
	if !v.may(resource) {
		return func(func(txn.Object) bool) {}
	}
	return v.View.Each(resource, namespace)
}

func (v *limited) EachIndexed(resource schema.GroupResource, index, value string) iter.Seq[txn.Object] {
	if !v.may(resource) {
		return func(func(txn.Object) bool) {}
	}
	return v.View.EachIndexed(resource, index, value)
}
