package main

import (
	"log/slog"
	"net/http"
	"path/filepath"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/apiserver"
	"github.com/headway-sh/headway/apiserver/authn"
	"github.com/headway-sh/headway/apiserver/authz"
	"github.com/headway-sh/headway/gitsource/hosted"
)

// gitDir is where the git engine keeps its files.
func gitDir(dataDir string) string { return filepath.Join(dataDir, "git") }

// hostedRepositories serves the repositories that the server keeps itself to
// who may get gitsources/repository of that name.
func hostedRepositories(dataDir string, api func() *apiserver.Server, log *slog.Logger) http.Handler {
	return hosted.New(hosted.Config{
		Dir: hosted.Dir(gitDir(dataDir)), Logger: log,
		Identify: func(r *http.Request) (string, bool) {
			id, ok, err := api().Identify(r)
			return id.Name, err == nil && ok && id.Name != authn.Anonymous
		},
		May: func(r *http.Request, name string) bool {
			id, ok, err := api().Identify(r)
			return err == nil && ok && api().Authorize(id, authz.Attributes{
				Verb: "get", Group: v1alpha1.GroupName, Version: v1alpha1.SchemeGroupVersion.Version,
				Resource: "gitsources", Subresource: v1alpha1.SubresourceRepository, Name: name,
			})
		},
	})
}
