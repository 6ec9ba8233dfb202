package webhook

import (
	"context"
	"log/slog"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/utils/lru"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/admission/match"
	"github.com/headway-sh/headway/apiserver/expression"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/write"
)

const (
	// compiledConditions is how many webhooks' conditions are kept compiled.
	compiledConditions = 256
	defaultTimeout     = 10 * time.Second
)

var (
	mutatingResource   = schema.GroupResource{Group: admissionv1.GroupName, Resource: "mutatingwebhookconfigurations"}
	validatingResource = schema.GroupResource{Group: admissionv1.GroupName, Resource: "validatingwebhookconfigurations"}
)

// Webhooks asks webhooks. It is safe for concurrent use.
type Webhooks struct {
	authorizer write.Authorizer
	log        *slog.Logger
	conditions *lru.Cache // *admissionv1.MatchCondition, the first → *expression.Conditions
	clients    *clients
	meter      Meter
}

// Asked is one question to a webhook.
type Asked struct {
	Webhook    string
	Validating bool
	Operation  write.Operation
	// Rejected says that the request is refused because of it.
	Rejected bool
	// Code is 200 for an answer that lets the request pass, that of a refusal,
	// or of the failure to ask; 0 for a failure without one.
	Code int
	// Failure is why there is no answer, in the words of Kubernetes' metrics.
	Failure string
	Took    time.Duration
}

// Values of Asked.Failure.
const (
	NoFailure     = "no_error"
	FailedCall    = "calling_webhook_error"
	FailedInside  = "apiserver_internal_error"
	succeededCode = 200
)

// Meter is told about every question. It must be quick and may be called
// concurrently.
type Meter interface{ Asked(a Asked) }

// New returns a Webhooks whose conditions ask the authorizer, and that tells
// the meter, unless that is nil. It has to be closed.
func New(authorizer write.Authorizer, meter Meter, log *slog.Logger) *Webhooks {
	return &Webhooks{authorizer: authorizer, meter: meter, log: log, conditions: lru.New(compiledConditions), clients: newClients()}
}

// Close ends the connections to webhooks that are kept for later requests.
func (w *Webhooks) Close() { w.clients.close() }

// Mutating is the step that asks mutating webhooks; a nil Webhooks asks none.
func (w *Webhooks) Mutating() write.Step {
	if w == nil {
		return write.Step{Name: "MutatingAdmissionWebhook"}
	}
	return write.Step{Name: "MutatingAdmissionWebhook", Everything: true, Mutate: w.mutate}
}

// Validating is the step that asks validating webhooks; a nil Webhooks asks none.
func (w *Webhooks) Validating() write.Step {
	if w == nil {
		return write.Step{Name: "ValidatingAdmissionWebhook"}
	}
	return write.Step{Name: "ValidatingAdmissionWebhook", Everything: true, Validate: w.validate}
}

// hook is one webhook of a configuration. It shares the configuration's parts.
type hook struct {
	configuration metav1.Object
	// index is the webhook's number among those of all configurations.
	index int

	name              string
	client            *admissionv1.WebhookClientConfig
	rules             []admissionv1.RuleWithOperations
	matchPolicy       *admissionv1.MatchPolicyType
	namespaceSelector *metav1.LabelSelector
	objectSelector    *metav1.LabelSelector
	conditions        []admissionv1.MatchCondition
	failurePolicy     *admissionv1.FailurePolicyType
	sideEffects       *admissionv1.SideEffectClass
	seconds           *int32
	reviewVersions    []string
	// ifNeeded says that the webhook is asked again about what others changed.
	ifNeeded bool
}

func mutatingHook(c *admissionv1.MutatingWebhookConfiguration, number, index int) hook {
	w := &c.Webhooks[number]
	return hook{
		configuration: c, index: index, name: w.Name, client: &w.ClientConfig, rules: w.Rules, matchPolicy: w.MatchPolicy,
		namespaceSelector: w.NamespaceSelector, objectSelector: w.ObjectSelector, conditions: w.MatchConditions,
		failurePolicy: w.FailurePolicy, sideEffects: w.SideEffects, seconds: w.TimeoutSeconds, reviewVersions: w.AdmissionReviewVersions,
		ifNeeded: w.ReinvocationPolicy != nil && *w.ReinvocationPolicy == admissionv1.IfNeededReinvocationPolicy,
	}
}

func validatingHook(c *admissionv1.ValidatingWebhookConfiguration, number, index int) hook {
	w := &c.Webhooks[number]
	return hook{
		configuration: c, index: index, name: w.Name, client: &w.ClientConfig, rules: w.Rules, matchPolicy: w.MatchPolicy,
		namespaceSelector: w.NamespaceSelector, objectSelector: w.ObjectSelector, conditions: w.MatchConditions,
		failurePolicy: w.FailurePolicy, sideEffects: w.SideEffects, seconds: w.TimeoutSeconds, reviewVersions: w.AdmissionReviewVersions,
	}
}

func (h *hook) open() bool {
	return h.failurePolicy != nil && *h.failurePolicy == admissionv1.Ignore
}

func (h *hook) timeout() time.Duration {
	if h.seconds == nil {
		return defaultTimeout
	}
	return time.Duration(*h.seconds) * time.Second
}

// wants tells whether the webhook is to be asked about a request, and in which
// version of its kind: nil when not.
func (w *Webhooks) wants(ctx context.Context, view txn.View, r *write.Request, h *hook) (*kind.Kind, error) {
	as, ok := match.Rules(h.rules, h.matchPolicy, r)
	if !ok {
		return nil, nil
	}
	if selected, err := match.Namespace(view, r, h.namespaceSelector); err != nil || !selected {
		return nil, err
	}
	if !match.Object(r, h.objectSelector) {
		return nil, nil
	}
	if err := r.Current(); err != nil {
		return nil, err
	}
	if len(h.conditions) == 0 {
		return as, nil
	}
	attributes, err := match.Attributes(r, as)
	if err != nil {
		return nil, err
	}
	return w.meets(ctx, view, r, h, as, attributes)
}

// meets evaluates the webhook's conditions. They are kept compiled by the list
// itself, which is shared and never changes: a UID and generation are not
// enough, for two plans may each have another next generation of one
// configuration.
func (w *Webhooks) meets(ctx context.Context, view txn.View, r *write.Request, h *hook, as *kind.Kind, a *admission.VersionedAttributes) (*kind.Kind, error) {
	key := &h.conditions[0]
	var compiled *expression.Conditions
	if known, ok := w.conditions.Get(key); ok {
		compiled = known.(*expression.Conditions)
	} else {
		compiled = expression.CompileConditions(h.conditions)
		w.conditions.Add(key, compiled)
	}
	met, err := compiled.Match(ctx, a, nil, match.Authorizer(view, w.authorizer))
	switch {
	case err != nil && h.open():
		return nil, nil
	case err != nil:
		return nil, apierrors.NewForbidden(r.Served.Served(), r.Ref.Name, err)
	case !met:
		return nil, nil
	}
	return as, nil
}
