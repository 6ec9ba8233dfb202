package apiserver

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/apiserver/custom"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/kinds"
)

// openCatalog makes the catalogs of what the write path and what clients see.
func (s *Server) openCatalog() error {
	defined := custom.NewKinds()
	s.follower = &custom.Follower{Kinds: defined, Store: s.store, Log: s.config.Logger}
	s.catalog = &custom.Catalog{Table: s.table, Kinds: defined, Follower: s.follower}
	visible, err := kinds.New(s.served())
	if err != nil {
		return err
	}
	s.visible = &custom.Catalog{Table: visible, Kinds: defined, Follower: s.follower}
	return nil
}

// served are the table's kinds that clients see.
func (s *Server) served() []*kind.Kind {
	return slices.DeleteFunc(slices.Clone(s.table.All()), Internal)
}

// followDefinitions brings the stored definitions' resources into the store,
// and keeps them there as long as ctx lasts.
func (s *Server) followDefinitions(ctx context.Context) error {
	finisher := &custom.Finisher{Kinds: s.follower.Kinds, Store: s.store, Write: s.path, Identity: Masters, Clock: s.config.Clock, Log: s.config.Logger}
	s.follower.Terminating = finisher.Finish
	if s.certificate != nil { // there are other servers
		s.follower.Attached, s.follower.Detached = s.watchCustom(ctx)
	}
	if err := s.follower.Begin(ctx); err != nil {
		return fmt.Errorf("serve custom resources: %w", err)
	}
	s.serving.Go(func() error { return s.follower.Run(ctx) })
	return nil
}

// defined are the custom kinds that there are now.
func (s *Server) defined() (version int64, rows func() []*kind.Kind) {
	snapshot := s.store.Snapshot()
	return snapshot.Changed(custom.Resource), func() []*kind.Kind { return slices.Collect(s.follower.Kinds.All(snapshot)) }
}

// NamespacedKinds are the kinds that there are now whose objects live in
// namespaces and are stored, each in a version that is served.
func (s *Server) NamespacedKinds() []schema.GroupVersionKind {
	_, custom := s.defined()
	var out []schema.GroupVersionKind
	for _, k := range append(s.served(), custom()...) {
		if rows := k.Rows(); k.Namespaced && k.Computed == nil && len(rows) > 0 {
			out = append(out, rows[0].GVK)
		}
	}
	return out
}

// Mapper finds the resources of kinds: the table's and those that are defined.
func (s *Server) Mapper() Mapper { return Mapper{s} }

// Mapper finds the resources of a server's kinds.
type Mapper struct{ server *Server }

// RESTMapping finds the resource of a kind, in the first of the versions.
func (m Mapper) RESTMapping(gk schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	return m.server.visible.RESTMapping(m.server.store.Snapshot(), gk, versions...)
}
