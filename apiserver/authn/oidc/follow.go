package oidc

import (
	"context"
	"os"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/server/options/authenticationconfig/metrics"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"

	"github.com/headway-sh/headway/internal/filewatch"
)

// settling is how long a change waits for the providers of new issuers, so
// that who was believed before and after it is believed all the time; after
// that it is in force all the same: what it takes away must not depend on who
// does not answer.
const (
	settling = 5 * time.Second
	settled  = 20 * time.Millisecond // between two looks
)

// Follow puts the file's content into force whenever it changes, until ctx
// ends. A content that is wrong is logged and counted, and what was in force
// stays.
func (i *Issuers) Follow(ctx context.Context) error {
	return filewatch.Run(ctx, i.config.Path, func(missed error) {
		if missed != nil {
			i.config.Log.Warn("a change of the authentication configuration may have been missed", "file", i.config.Path, "error", missed)
		}
		if err := i.reload(ctx); err != nil {
			metrics.RecordAuthenticationConfigAutomaticReloadFailure(i.config.Server)
			i.config.Log.Error("authentication configuration is wrong, the one before stays in force", "file", i.config.Path, "error", err)
		}
	})
}

func (i *Issuers) reload(ctx context.Context) error {
	text, err := os.ReadFile(i.config.Path)
	before := i.force.Load()
	if err != nil || string(text) == before.text || string(text) == i.refused {
		return err
	}
	next, superseded, err := i.build(ctx, string(text), before)
	if err != nil {
		i.refused = string(text)
		return err
	}
	i.refused = ""
	next.settle(ctx)
	i.force.Store(next)
	for _, one := range superseded {
		time.AfterFunc(retirement, one.end)
		if !slices.ContainsFunc(next.issuers, func(n *issuer) bool { return n.config.Issuer.URL == one.config.Issuer.URL }) {
			oidc.DeleteJWKSFetchMetrics(one.config.Issuer.URL, i.config.Server)
		}
	}
	metrics.RecordAuthenticationConfigAutomaticReloadSuccess(i.config.Server, next.text)
	i.config.Log.Info("authentication configuration reloaded", "file", i.config.Path, "issuers", len(next.issuers))
	return nil
}

// settle waits a while until all providers have answered.
func (f *force) settle(ctx context.Context) {
	// The error says that some have not; their requests log why.
	_ = wait.PollUntilContextTimeout(ctx, settled, settling, true, func(context.Context) (bool, error) {
		return !slices.ContainsFunc(f.issuers, func(one *issuer) bool { return one.token.HealthCheck() != nil }), nil
	})
}

// takeOver takes the issuer of a configuration out of those that were in
// force. One whose provider has not answered is not taken: a new one asks at
// once.
func takeOver(from *[]*issuer, config apiserver.JWTAuthenticator) *issuer {
	at := slices.IndexFunc(*from, func(one *issuer) bool {
		return equality.Semantic.DeepEqual(one.config, config) && one.token.HealthCheck() == nil
	})
	if at < 0 {
		return nil
	}
	one := (*from)[at]
	*from = slices.Delete(*from, at, at+1)
	return one
}
