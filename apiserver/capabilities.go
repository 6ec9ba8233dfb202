package apiserver

import (
	"github.com/headway-sh/headway/apiserver/offline"
	"github.com/headway-sh/headway/apiserver/rest"
)

// Capabilities are the version that the server has and what it serves now, as
// Helm's charts ask for it: "apps/v1" and "apps/v1/Deployment", in order.
func (s *Server) Capabilities() (version string, apis []string) {
	_, custom := s.defined()
	return rest.Version().GitVersion, offline.Served(append(s.served(), custom()...))
}
