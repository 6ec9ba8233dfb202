// Package offline answers plans without a cluster: with the kinds' own
// defaulting and validation, on a View that has nothing but what is planned.
// Definitions of custom resources count for the objects planned with them.
// What only a cluster can say (rights, quotas, policies, webhooks, whether a
// namespace exists) is not asked.
package offline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/custom"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/kinds"
	"github.com/headway-sh/headway/apiserver/rest"
	"github.com/headway-sh/headway/apiserver/store"
	"github.com/headway-sh/headway/apiserver/write"
)

// API is the part of an API server that needs no cluster.
type API struct {
	catalog *custom.Catalog
	path    *write.Path
}

// New makes one.
func New() (*API, error) {
	scheme, err := kinds.Scheme()
	if err != nil {
		return nil, fmt.Errorf("offline: %w", err)
	}
	rows := kinds.All()
	table, err := kinds.New(rows)
	if err != nil {
		return nil, fmt.Errorf("offline: %w", err)
	}
	a := &API{catalog: &custom.Catalog{Table: table, Kinds: custom.NewKinds()}}
	a.path, err = write.New(write.Config{Store: nothing{}, Kinds: rows, Custom: a.catalog, Authorizer: everything{},
		Steps: []write.Step{custom.Definitions()}, Scheme: scheme, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, fmt.Errorf("offline: %w", err)
	}
	return a, nil
}

// Plan is txn.Interface's.
func (a *API) Plan(ctx context.Context, view txn.View, identity txn.Identity, changes []txn.Change) (*txn.Result, error) {
	return a.path.Plan(ctx, view, identity, changes)
}

// RESTMapping finds the resource of a kind of the table.
func (a *API) RESTMapping(gk schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	return a.catalog.RESTMapping(txn.Empty{}, gk, versions...)
}

// Capabilities are what charts see of a server of this version.
func (a *API) Capabilities() (version string, apis []string) {
	return rest.Version().GitVersion, Served(a.catalog.Table.All())
}

// Served are the API versions of kinds and, below them, the kinds, in order.
func Served(rows []*kind.Kind) []string {
	all := map[string]bool{}
	for _, k := range rows {
		for _, row := range k.Rows() {
			gv := row.GVK.GroupVersion().String()
			all[gv], all[gv+"/"+row.GVK.Kind] = true, true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// everything is allowed: nobody is asked for.
type everything struct{}

func (everything) Authorize(txn.View, txn.Identity, write.Attributes) write.Decision {
	return write.Decision{Allowed: true}
}

// nothing is a store without anything in it.
type nothing struct{}

var errOffline = errors.New("there is no cluster to write to")

func (nothing) Latest() txn.View                                    { return txn.Empty{} }
func (nothing) View(context.Context) (txn.View, error)              { return txn.Empty{}, nil }
func (nothing) Owns(txn.View) bool                                  { return false }
func (nothing) Notes(context.Context, string) ([]txn.Note, error)   { return nil, nil }
func (nothing) Acquire(context.Context, string) (txn.Epoch, error)  { return txn.Epoch{}, errOffline }
func (nothing) Txn(context.Context, store.Txn) (*store.Done, error) { return nil, errOffline }
