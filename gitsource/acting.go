package gitsource

import (
	"reflect"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/plan"
)

// actors is the part of a spec that says who objects are written as.
func actors(s *v1alpha1.GitSourceSpec) any {
	namespace, name := s.Account()
	return []any{namespace, name, s.Tenants}
}

// sameActors tells whether two specs have the same people write.
func sameActors(a, b *v1alpha1.GitSourceSpec) bool { return reflect.DeepEqual(actors(a), actors(b)) }

// wrote tells whether a write is the engine's own, whomever it acted as.
func (e *Engine) wrote(who txn.Identity) bool {
	return who.Name == e.cfg.Identity.Name || who.Impersonator == e.cfg.Identity.Name
}

// as is who an object of the inventory is written as; nil: the engine.
func (s *source) as(e *plan.Entry) *txn.Identity { return s.tenancy.As(e.Tenant) }
