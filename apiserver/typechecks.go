package apiserver

import (
	"context"

	"github.com/headway-sh/headway/apiserver/admission/typecheck"
)

// checkTypes keeps the type checks in the status of policies until ctx ends.
func (s *Server) checkTypes(ctx context.Context) error {
	c := typecheck.Checker{Store: s.store, Write: s.path, Identity: Masters, ByGVR: s.visible.ByGVR,
		Schemas: func() typecheck.Schemas { return s.schemas.Lookup() }, Log: s.config.Logger}
	return c.Run(ctx)
}
