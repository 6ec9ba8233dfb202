package apiserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/admission"
	"github.com/headway-sh/headway/apiserver/etcd"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/rest"
	"github.com/headway-sh/headway/internal/quota"
)

// Defaults of Config.
const (
	DefaultClusterName   = "headway"
	DefaultClusterDomain = "cluster.local"
	DefaultPort          = 6443
)

// Config is what a Server is made of.
type Config struct {
	// DataDir holds etcd's files and the authorities.
	DataDir string
	// Listen is where to serve HTTPS. Port 0 picks one.
	Listen netip.AddrPort
	// Advertise is the address that agents and pods reach this server by.
	Advertise netip.Addr
	// Names are further host names for the serving certificate.
	Names []string
	// ServiceCIDR is where service addresses come from.
	ServiceCIDR netip.Prefix
	// SecondaryServiceCIDR is a range of the other IP family, for dual-stack
	// Services; invalid: there is none.
	SecondaryServiceCIDR netip.Prefix
	// ExternalIPs are the ranges that Services may claim external addresses in;
	// none: they may claim none.
	ExternalIPs []netip.Prefix
	// AdmissionConfig is a file with an AdmissionConfiguration; empty: none. What
	// it says about PodSecurity stands in the place of the field's.
	AdmissionConfig string
	// PodSecurity holds where the labels of a namespace name no standard.
	PodSecurity admission.PodSecurity
	// ClusterName and ClusterDomain name the cluster to people and in DNS.
	ClusterName, ClusterDomain string
	// Etcd configures the member in process; its DataDir is set from DataDir,
	// and its PeerTLS from the authorities.
	Etcd etcd.Config
	// EncryptionConfig is a file with an EncryptionConfiguration; empty means
	// the server's own, which seals Secrets.
	EncryptionConfig string
	// AuthenticationConfig is a file with an AuthenticationConfiguration; empty
	// means that only the cluster's own credentials are believed.
	AuthenticationConfig string
	// Audit configures the audit log; zero means the defaults.
	Audit AuditConfig
	// Seats is how many requests are served at once; 0 means the default.
	Seats int
	// Kinds and Types add to the table and the scheme.
	Kinds []*kind.Kind
	Types []func(*runtime.Scheme) error
	// Routes are served beside the API, each by its exact path, or with
	// everything below it when that ends with a slash.
	Routes map[string]http.Handler
	// Collectors are asked along with the server's own metrics.
	Collectors []prometheus.Collector
	// Prepare runs when the API can be used in process and nobody is served
	// yet: what has to exist once /readyz answers is made here.
	Prepare func(context.Context, *Server) error
	// Checks add to the server's own; see checks.
	Checks []rest.Check
	// ShutdownDelay is how long the server still answers everything once it is
	// told to stop, while /readyz says so to whoever balances load.
	ShutdownDelay time.Duration
	Clock         clock.WithTicker
	Logger        *slog.Logger

	limited []quota.Rule // by AdmissionConfig
}

func (c *Config) complete() error {
	switch {
	case c.DataDir == "":
		return errors.New("apiserver: DataDir is needed")
	case !c.Listen.IsValid():
		return errors.New("apiserver: Listen is needed")
	case c.Logger == nil:
		return errors.New("apiserver: Logger is needed")
	}
	if c.AdmissionConfig != "" {
		read := admission.Config{PodSecurity: c.PodSecurity}
		if err := admission.LoadFile(c.AdmissionConfig, &read); err != nil {
			return err
		}
		c.PodSecurity, c.limited = read.PodSecurity, read.Limited
	}
	if err := c.PodSecurity.Validate(); err != nil {
		return fmt.Errorf("apiserver: %w", err)
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if !c.ServiceCIDR.IsValid() {
		c.ServiceCIDR = netip.MustParsePrefix(admission.DefaultServiceCIDR)
	}
	if err := c.checkRanges(); err != nil {
		return err
	}
	if c.ClusterName == "" {
		c.ClusterName = DefaultClusterName
	}
	if c.ClusterDomain == "" {
		c.ClusterDomain = DefaultClusterDomain
	}
	if !c.Advertise.IsValid() || c.Advertise.IsUnspecified() {
		c.Advertise = c.Listen.Addr()
	}
	if c.Advertise.IsUnspecified() {
		c.Advertise = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return nil
}

func (c *Config) checkRanges() error {
	for _, p := range []netip.Prefix{c.ServiceCIDR, c.SecondaryServiceCIDR} {
		if p.IsValid() && p.Bits() > p.Addr().BitLen()-4 {
			return fmt.Errorf("apiserver: the service range %s has fewer than 16 addresses", p)
		}
	}
	if c.SecondaryServiceCIDR.IsValid() && c.SecondaryServiceCIDR.Addr().Is4() == c.ServiceCIDR.Addr().Is4() {
		return fmt.Errorf("apiserver: the service ranges %s and %s are of one IP family: two must be of different ones", c.ServiceCIDR, c.SecondaryServiceCIDR)
	}
	return nil
}

// Masters is the identity of the server itself, for what must be there before
// anybody has rights.
var Masters = txn.Identity{Name: "system:apiserver", Groups: []string{"system:masters"}}

// ServiceAddress is the nth address of the service range: 1 is the API's own
// (kubernetes.default), 10 is cluster DNS.
func ServiceAddress(cidr netip.Prefix, n int) netip.Addr {
	ip := cidr.Masked().Addr()
	for range n {
		ip = ip.Next()
	}
	return ip
}

// Indexes of well-known addresses in the service range.
const (
	APIServiceIndex = 1
	DNSServiceIndex = 10
)
