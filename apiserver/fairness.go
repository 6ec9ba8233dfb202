package apiserver

import (
	"context"
	"net/http"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/fairness"
	"github.com/headway-sh/headway/apiserver/rest"
	"github.com/headway-sh/headway/apiserver/write"
)

// turns is fairness in the words of the REST room.
type turns struct{ *fairness.Fairness }

var _ rest.Turns = turns{}

func (t turns) Take(ctx context.Context, turn rest.Turn, header http.Header, do func(leave func()) error) error {
	info := turn.Info
	return t.Fairness.Take(ctx, &fairness.Request{
		Identity: turn.Identity, Verb: info.Verb, IsResource: info.IsResource, Group: info.Group, Resource: info.Resource, Subresource: info.Subresource,
		Namespace: info.Namespace, Path: info.Path, Width: turn.Width, Brief: turn.Brief,
	}, header, do)
}

// keepFair follows the objects that decide about turns.
func (s *Server) keepFair(ctx context.Context) error {
	return s.fairness.Run(ctx, s.store, func(ctx context.Context, c txn.Change) error {
		_, err := s.path.Do(ctx, Masters, c, write.Options{})
		return err
	})
}
