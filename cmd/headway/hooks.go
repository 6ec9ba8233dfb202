package main

import (
	"net/http"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/authn"
	"github.com/headway-sh/headway/gitsource/webhook"
)

// hooks is where forges tell of pushes. Every server answers: the source is
// told through the API, wherever its engine runs.
func (s *server) hooks() http.Handler {
	identity := authn.ServiceAccount("kube-system", "gitsource")
	return webhook.New(webhook.Config{
		Txn: func() txn.Interface { return s.api.Peer(identity).Txn() }, Identity: identity,
		Count: s.sources.Called, Clock: s.clock, Logger: s.log,
	})
}
