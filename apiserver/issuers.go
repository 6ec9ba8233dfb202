package apiserver

import (
	"context"
	"net/netip"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/headway-sh/headway/apiserver/authn"
	"github.com/headway-sh/headway/apiserver/authn/oidc"
)

// issuer is who issues the cluster's service account tokens.
func (c *Config) issuer() string { return "https://kubernetes.default.svc." + c.ClusterDomain }

// openIssuers believes the tokens of whom the configuration file names, if
// there is one, and follows the file until ctx ends.
func (s *Server) openIssuers(ctx context.Context) error {
	if s.config.AuthenticationConfig == "" {
		return nil
	}
	var err error
	s.issuers, err = oidc.New(ctx, oidc.Config{Path: s.config.AuthenticationConfig, Own: []string{s.config.issuer()},
		Server: netip.AddrPortFrom(s.config.Advertise, s.config.Listen.Port()).String(), Log: s.config.Logger})
	if err != nil {
		return err
	}
	s.serving.Go(func() error { return s.issuers.Follow(ctx) })
	return nil
}

// foreign are the issuers as the authenticator asks them.
func (s *Server) foreign() authn.Issuers {
	if s.issuers == nil {
		return nil
	}
	return s.issuers
}

// anonymous is what the file says about requests without a credential.
func (s *Server) anonymous(path string) (allowed, decided bool) {
	if s.issuers == nil {
		return false, false
	}
	return s.issuers.Anonymous(path)
}

// gathered are the metrics that are not the server's own.
func (s *Server) gathered() []prometheus.Gatherer {
	if s.issuers == nil {
		return nil
	}
	return []prometheus.Gatherer{issuerMetrics{}}
}

// issuerMetrics are what Kubernetes' packages behind the issuers count. They
// know one registry for the whole process.
type issuerMetrics struct{}

func (issuerMetrics) Gather() ([]*dto.MetricFamily, error) {
	all, err := legacyregistry.DefaultGatherer.Gather()
	var ours []*dto.MetricFamily
	for _, family := range all {
		if strings.HasPrefix(family.GetName(), "apiserver_authentication_") {
			ours = append(ours, family)
		}
	}
	return ours, err
}
