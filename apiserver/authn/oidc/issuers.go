package oidc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/cel"
	"k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/pkg/server/options/authenticationconfig/metrics"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"

	"github.com/headway-sh/headway/api/txn"
)

// believedFor is how long a token is believed without another look, and
// retirement how long an issuer that is no longer in force may answer requests
// that began before.
const (
	believedFor = 10 * time.Second
	retirement  = time.Minute
)

// Config says where the configuration is.
type Config struct {
	// Path is the file with the AuthenticationConfiguration.
	Path string
	// Own are the issuers that the file must not claim: the cluster's.
	Own []string
	// Server tells the metrics of this server from those of others.
	Server string
	Log    *slog.Logger
}

// Issuers believe tokens as the file says. They are safe for concurrent use.
type Issuers struct {
	config   Config
	compiler cel.Compiler
	force    atomic.Pointer[force]
	// refused is the last content that was wrong, so that it is told once; only
	// Follow uses it.
	refused string
}

// force is one content of the file.
type force struct {
	text      string
	anonymous *apiserver.AnonymousAuthConfig
	issuers   []*issuer
	tokens    authenticator.Token // of all issuers; nil: there are none
}

// issuer is one of them with what it has learned from its provider.
type issuer struct {
	config apiserver.JWTAuthenticator
	token  oidc.AuthenticatorTokenWithHealthCheck
	end    context.CancelFunc
}

// New reads the file, which must be right. Providers need not answer yet: they
// are asked in the background until ctx ends, and until one does its tokens
// are refused.
func New(ctx context.Context, config Config) (*Issuers, error) {
	metrics.RegisterMetrics()
	i := &Issuers{config: config, compiler: cel.NewDefaultCompiler()}
	text, err := os.ReadFile(config.Path)
	if err != nil {
		return nil, fmt.Errorf("authentication configuration: %w", err)
	}
	next, _, err := i.build(ctx, string(text), &force{})
	if err != nil {
		return nil, fmt.Errorf("authentication configuration %s: %w", config.Path, err)
	}
	i.force.Store(next)
	metrics.RecordAuthenticationConfigLastConfigInfo(config.Server, next.text)
	return i, nil
}

// build makes what a content says. Issuers that before has just so, and whose
// providers answer, are taken over; those that it has besides are returned.
func (i *Issuers) build(ctx context.Context, text string, before *force) (next *force, superseded []*issuer, err error) {
	c, err := parse([]byte(text), i.compiler, i.config.Own)
	if err != nil {
		return nil, nil, err
	}
	next = &force{text: text, anonymous: c.Anonymous}
	superseded = slices.Clone(before.issuers)
	var tokens []authenticator.Token
	for _, config := range c.JWT {
		one := takeOver(&superseded, config)
		if one == nil {
			if one, err = i.open(ctx, config); err != nil {
				next.end(before)
				return nil, nil, fmt.Errorf("issuer %s: %w", config.Issuer.URL, err)
			}
		}
		next.issuers, tokens = append(next.issuers, one), append(tokens, one.token)
	}
	if len(tokens) > 0 {
		next.tokens = cache.New(union.New(tokens...), false, believedFor, 0)
	}
	return next, superseded, nil
}

// open makes an issuer, which begins to ask its provider.
func (i *Issuers) open(ctx context.Context, config apiserver.JWTAuthenticator) (*issuer, error) {
	ctx, end := context.WithCancel(ctx)
	options := oidc.Options{JWTAuthenticator: config, Compiler: i.compiler, DisallowedIssuers: i.config.Own,
		SupportedSigningAlgs: oidc.AllValidSigningAlgorithms(), APIServerID: i.config.Server}
	if pem := config.Issuer.CertificateAuthority; pem != "" {
		options.CAContentProvider = authority(pem)
	}
	token, err := oidc.New(ctx, options)
	if err != nil {
		end()
		return nil, err
	}
	return &issuer{config: config, token: token, end: end}, nil
}

// authority is the PEM of who signs a provider's certificate.
type authority string

func (a authority) CurrentCABundleContent() []byte { return []byte(a) }

// end ends the issuers that before has not.
func (f *force) end(before *force) {
	for _, one := range f.issuers {
		if !slices.Contains(before.issuers, one) {
			one.end()
		}
	}
}

// Token tells whose a token is; ok is false when it is of none of the issuers.
func (i *Issuers) Token(ctx context.Context, token string) (id txn.Identity, ok bool, err error) {
	tokens := i.force.Load().tokens
	if tokens == nil {
		return txn.Identity{}, false, nil
	}
	response, ok, err := tokens.AuthenticateToken(ctx, token)
	if err != nil || !ok {
		return txn.Identity{}, false, err
	}
	if response.User.GetName() == "" {
		return txn.Identity{}, false, errors.New("the token names nobody")
	}
	return txn.Identity{Name: response.User.GetName(), UID: response.User.GetUID(),
		Groups: slices.Clone(response.User.GetGroups()), Extra: response.User.GetExtra()}, true, nil
}

// Anonymous tells whether a path is answered without a credential; decided is
// false when the file leaves that to the server.
func (i *Issuers) Anonymous(path string) (allowed, decided bool) {
	a := i.force.Load().anonymous
	if a == nil {
		return false, false
	}
	return a.Enabled && (len(a.Conditions) == 0 || slices.Contains(a.Conditions, apiserver.AnonymousAuthCondition{Path: path})), true
}
