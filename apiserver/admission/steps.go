package admission

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/apiserver/admission/policy"
	"github.com/headway-sh/headway/apiserver/admission/webhook"
	"github.com/headway-sh/headway/apiserver/write"
	"github.com/headway-sh/headway/internal/quota"
)

// DefaultServiceCIDR is where service addresses come from.
const DefaultServiceCIDR = "10.96.0.0/12"

// Default node ports.
const (
	DefaultFirstNodePort = 30000
	DefaultLastNodePort  = 32767
)

// Config is what the steps of a cluster differ by. The zero value is usable.
type Config struct {
	// ServiceCIDR is the IPv4 or IPv6 range of service addresses; invalid:
	// DefaultServiceCIDR.
	ServiceCIDR netip.Prefix
	// SecondaryServiceCIDR is a range of the other family; invalid: Services
	// have addresses of one family only.
	SecondaryServiceCIDR netip.Prefix
	// FirstNodePort and LastNodePort bound node ports; 0: the defaults.
	FirstNodePort, LastNodePort int32
	// ExternalIPs are the ranges that Services may claim external addresses in;
	// none: they may claim none.
	ExternalIPs []netip.Prefix
	// PodSecurity holds where namespaces have no labels.
	PodSecurity PodSecurity
	// Limited is what may be had only in namespaces with a quota for it.
	Limited []quota.Rule
	// Pressure is the part of the storage that is taken, from 0 to 1; nil: the
	// storage is never full.
	Pressure func() float64
	// Webhooks asks webhooks; nil: there are none.
	Webhooks *webhook.Webhooks
	// Policies holds writes to ValidatingAdmissionPolicies; nil: to none.
	Policies *policy.Policies
}

func (c Config) withDefaults() Config {
	if !c.ServiceCIDR.IsValid() {
		c.ServiceCIDR = netip.MustParsePrefix(DefaultServiceCIDR)
	}
	c.ServiceCIDR = c.ServiceCIDR.Masked()
	if c.SecondaryServiceCIDR.IsValid() {
		c.SecondaryServiceCIDR = c.SecondaryServiceCIDR.Masked()
	}
	if c.FirstNodePort == 0 {
		c.FirstNodePort, c.LastNodePort = DefaultFirstNodePort, DefaultLastNodePort
	}
	return c
}

// Steps are the steps in the order in which they run. Those that refuse for
// who or where come first, those that fill in come next; addresses are taken
// and quotas charged last, when nothing but validation can still refuse the request.
func Steps(c Config) []write.Step {
	c = c.withDefaults()
	return []write.Step{
		namespaceLifecycle(),
		storagePressure(c.Pressure),
		nodeRestriction(),
		nodeTokens(),
		certificateRequester(),
		signers(),
		approvals(),
		escalation(),
		taintNewNodes(),
		serviceAccount(),
		priority(),
		runtimeClass(),
		defaultTolerations(),
		defaultStorageClass(),
		defaultIngressClass(),
		storageProtection(),
		devices(),
		topologyLabels(),
		limitRanger(),
		claimResize(),
		c.Policies.Mutating(),
		c.Webhooks.Mutating(),
		podSecurity(c.PodSecurity),
		externalIPs(c.ExternalIPs),
		foreignEndpoints(c.ServiceCIDR, c.SecondaryServiceCIDR),
		serviceAddresses(c),
		c.Policies.Rights(),
		c.Policies.Step(),
		c.Webhooks.Validating(),
		resourceQuota(c.Limited),
	}
}

var (
	podsResource     = corev1.Resource("pods")
	nodesResource    = corev1.Resource("nodes")
	servicesResource = corev1.Resource("services")
)

// creates tells whether a request creates an object of the resource itself.
func creates(r *write.Request, resource schema.GroupResource) bool {
	return r.Operation == write.OperationCreate && r.Subresource == "" && r.Ref.Resource == resource
}

func forbidden(r *write.Request, format string, args ...any) error {
	return apierrors.NewForbidden(r.Ref.Resource, r.Ref.Name, fmt.Errorf(format, args...))
}
