package inproc

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/store"
	"github.com/headway-sh/headway/apiserver/write"
)

// Store is what is read from.
type Store interface {
	// Snapshot is the newest state that is here.
	Snapshot() *store.Snapshot
	// Current has everything that anyone has acknowledged.
	Current(ctx context.Context) (*store.Snapshot, error)
	// Watch begins a watch.
	Watch(ctx context.Context, options store.WatchOptions) (*store.Watcher, error)
	// At shows one resource as it was at a revision, or *store.ExpiredError.
	At(ctx context.Context, revision int64, resource schema.GroupResource) (*store.Snapshot, error)
}

// Config is what a Server is made of; all of it is required but Log.
type Config struct {
	Store Store
	Write *write.Path
	// Scheme maps Go types to kinds.
	Scheme *runtime.Scheme
	// Log defaults to slog.Default.
	Log *slog.Logger
	// Tokens answers token requests; nil: there are none.
	Tokens TokenIssuer
	// Audit is told about every write; nil: nobody is.
	Audit Auditor
	// Custom finds the kinds that are defined on a View; nil: there are none.
	Custom Custom
}

// Auditor is told what was written in process, or was tried to be. It must be
// quick, must not change or keep objects and may be called concurrently.
type Auditor interface {
	// Wrote is a single change.
	Wrote(w Written)
	// Cleared is a deletion of everything that was selected.
	Cleared(identity txn.Identity, k *kind.Kind, c *write.Collection, gone []txn.Object, err error)
	// Committed is a transaction; by is who called, who need not be the one it
	// was planned as. Told is that of the outcomes, in their order.
	Committed(by txn.Identity, result *txn.Result, told []write.Told, done *txn.Committed, err error)
}

// Written is a single change in process.
type Written struct {
	Identity txn.Identity
	// Kind is the row of the version that was written in.
	Kind   *kind.Kind
	Change *txn.Change
	// Done is what became of it when Err is nil; what it has Told is there in
	// either case.
	Done write.Done
	Err  error
	// Answer is what was answered instead of the object; nil for none.
	Answer txn.Object
}

// Custom finds kinds that are no rows of the table.
type Custom interface {
	// Attach makes sure that the store has the resource of a row.
	Attach(ctx context.Context, row *kind.Kind) error
	// ByGVK finds the row that serves a kind in a version.
	ByGVK(view txn.View, gvk schema.GroupVersionKind) (*kind.Kind, bool)
	// Row finds the storage version's row of a resource when version is empty.
	Row(view txn.View, resource schema.GroupResource, version string) *kind.Kind
	// RESTMapping finds the resource of a kind, in the first of the versions.
	RESTMapping(view txn.View, gk schema.GroupKind, versions ...string) (*meta.RESTMapping, error)
}

// TokenIssuer makes service account tokens.
type TokenIssuer interface {
	// Issue answers a request for an account, which it looks up on the View.
	Issue(view txn.View, namespace, name string, request *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error)
}

// Server makes Peers. It is safe for concurrent use.
type Server struct {
	Config
	kinds  map[schema.GroupVersionKind]*kind.Kind
	mapper mapper
}

// New makes a Server.
func New(c Config) (*Server, error) {
	if c.Store == nil || c.Write == nil || c.Scheme == nil {
		return nil, errors.New("in-process server: Store, Write and Scheme are required")
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	s := &Server{Config: c, kinds: map[schema.GroupVersionKind]*kind.Kind{}, mapper: mapper{meta.NewDefaultRESTMapper(nil), c}}
	for _, k := range c.Write.Kinds {
		scope := meta.RESTScopeRoot
		if k.Namespaced {
			scope = meta.RESTScopeNamespace
		}
		for _, row := range k.Rows() {
			s.kinds[row.GVK] = row
			if k.Computed != nil && k.GVK.Group != "" {
				continue // "pods" without a group are no measurements
			}
			s.mapper.AddSpecific(row.GVK, row.GVR(), row.GVK.GroupVersion().WithResource(k.Singular), scope)
		}
	}
	return s, nil
}

// Peer is one identity's access. It is safe for concurrent use.
type Peer struct {
	server   *Server
	identity txn.Identity
	epoch    txn.Epoch
}

// For gives an identity its access. The identity's user agent, which becomes
// the field manager of writes that name none, defaults to the last part of its
// name.
func (s *Server) For(identity txn.Identity) *Peer {
	if identity.UserAgent == "" {
		identity.UserAgent = identity.Name[strings.LastIndexByte(identity.Name, ':')+1:]
	}
	return &Peer{server: s, identity: identity}
}

// Bound gives the same access with every write bound to an epoch: once another
// holder has taken over, all writes fail with txn.ErrEpoch.
func (p *Peer) Bound(epoch txn.Epoch) *Peer {
	bound := *p
	bound.epoch = epoch
	return &bound
}

// Identity is whose access it is.
func (p *Peer) Identity() txn.Identity { return p.identity }

// kindOf finds the kind of an object or of a list of objects.
func (s *Server) kindOf(o runtime.Object) (*kind.Kind, error) {
	gvk, err := s.gvkOf(o)
	if err != nil {
		return nil, err
	}
	return s.kindFor(gvk)
}

// gvkOf is the kind and version of an object or of a list of objects.
func (s *Server) gvkOf(o runtime.Object) (schema.GroupVersionKind, error) {
	gvk, err := apiutil.GVKForObject(o, s.Scheme)
	if err == nil && meta.IsListType(o) {
		gvk.Kind = strings.TrimSuffix(gvk.Kind, "List")
	}
	return gvk, err
}

func (s *Server) kindFor(gvk schema.GroupVersionKind) (*kind.Kind, error) {
	k := s.kinds[gvk]
	if k == nil && s.Custom != nil {
		k, _ = s.Custom.ByGVK(s.Store.Snapshot(), gvk)
	}
	if k == nil {
		return nil, &meta.NoKindMatchError{GroupKind: gvk.GroupKind(), SearchedVersions: []string{gvk.Version}}
	}
	return k, nil
}

// mapper knows the table's kinds and those that are defined now.
type mapper struct {
	*meta.DefaultRESTMapper
	config Config
}

// RESTMapping finds the resource of a kind.
func (m mapper) RESTMapping(gk schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	found, err := m.DefaultRESTMapper.RESTMapping(gk, versions...)
	if !meta.IsNoMatchError(err) || m.config.Custom == nil {
		return found, err
	}
	return m.config.Custom.RESTMapping(m.config.Store.Snapshot(), gk, versions...)
}

// KindFor finds the kind of a resource, in a version that is served.
func (m mapper) KindFor(resource schema.GroupVersionResource) (schema.GroupVersionKind, error) {
	found, err := m.DefaultRESTMapper.KindFor(resource)
	if !meta.IsNoMatchError(err) || m.config.Custom == nil {
		return found, err
	}
	if row := m.config.Custom.Row(m.config.Store.Snapshot(), resource.GroupResource(), resource.Version); row != nil {
		for _, served := range row.Rows() {
			return served.GVK, nil
		}
	}
	return found, err
}

// mayList authorizes a list or watch. One that its field selector narrows to a
// name is one of that name.
func (p *Peer) mayList(view txn.View, k *kind.Kind, verb string, o *client.ListOptions) error {
	a := write.Attributes{Verb: verb, Resource: k.Served(), Version: k.GVK.Version, Namespace: o.Namespace}
	if o.FieldSelector != nil {
		a.FieldSelector = o.FieldSelector.String()
		a.Name, _ = o.FieldSelector.RequiresExactMatch("metadata.name")
	}
	if o.LabelSelector != nil {
		a.LabelSelector = o.LabelSelector.String()
	}
	return write.Authorize(p.server.Write.Authorizer, view, p.identity, a)
}

// may authorizes a read.
func (p *Peer) may(view txn.View, k *kind.Kind, verb, namespace, name string) error {
	return write.Authorize(p.server.Write.Authorizer, view, p.identity, write.Attributes{
		Verb: verb, Resource: k.Served(), Version: k.GVK.Version, Namespace: namespace, Name: name,
	})
}
