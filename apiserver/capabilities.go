package apiserver

import (
	"maps"
	"slices"

	"github.com/headway-sh/headway/apiserver/rest"
)

// Capabilities are the version that the server has and what it serves now, as
// Helm's charts ask for it: "apps/v1" and "apps/v1/Deployment", in order.
func (s *Server) Capabilities() (version string, apis []string) {
	_, custom := s.defined()
	all := map[string]bool{}
	for _, k := range append(s.served(), custom()...) {
		for _, row := range k.Rows() {
			gv := row.GVK.GroupVersion().String()
			all[gv], all[gv+"/"+row.GVK.Kind] = true, true
		}
	}
	return rest.Version().GitVersion, slices.Sorted(maps.Keys(all))
}
