package kinds

import (
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

const (
	defaultWebhookTimeout = 10
	defaultWebhookPort    = 443
	webhooksColumn        = "Webhooks indicates the number of webhooks registered in this configuration"
)

func validatingWebhookConfigurationKind() *kind.Kind {
	return &kind.Kind{
		GVK:           admissionv1.SchemeGroupVersion.WithKind("ValidatingWebhookConfiguration"),
		Plural:        "validatingwebhookconfigurations",
		Singular:      "validatingwebhookconfiguration",
		Categories:    []string{"api-extensions"},
		StoragePrefix: "validatingwebhookconfigurations",
		New:           func() txn.Object { return &admissionv1.ValidatingWebhookConfiguration{} },
		NewList:       func() runtime.Object { return &admissionv1.ValidatingWebhookConfigurationList{} },
		Default: defaults(func(o *admissionv1.ValidatingWebhookConfiguration) {
			for i := range o.Webhooks {
				validatingHook(&o.Webhooks[i]).setDefaults()
			}
		}),
		Prepare: prepare(func(o, old *admissionv1.ValidatingWebhookConfiguration) {
			countSpecs(o, untyped(old), o.Webhooks, func() any { return old.Webhooks })
		}),
		PlainFinalizers: true,
		Validate: validate(func(o, old *admissionv1.ValidatingWebhookConfiguration) fieldErrors {
			if old == nil {
				return checkHooks(hooksOf(o.Webhooks, validatingHook), nil)
			}
			return checkHooks(hooksOf(o.Webhooks, validatingHook), hooksOf(old.Webhooks, validatingHook))
		}),
		Columns: []column{nameColumn(), integer("Webhooks", webhooksColumn), ageColumn()},
		Row: row(func(o *admissionv1.ValidatingWebhookConfiguration, now time.Time) []any {
			return []any{o.Name, int64(len(o.Webhooks)), age(o, now)}
		}),
	}
}

func mutatingWebhookConfigurationKind() *kind.Kind {
	return &kind.Kind{
		GVK:           admissionv1.SchemeGroupVersion.WithKind("MutatingWebhookConfiguration"),
		Plural:        "mutatingwebhookconfigurations",
		Singular:      "mutatingwebhookconfiguration",
		Categories:    []string{"api-extensions"},
		StoragePrefix: "mutatingwebhookconfigurations",
		New:           func() txn.Object { return &admissionv1.MutatingWebhookConfiguration{} },
		NewList:       func() runtime.Object { return &admissionv1.MutatingWebhookConfigurationList{} },
		Default: defaults(func(o *admissionv1.MutatingWebhookConfiguration) {
			for i := range o.Webhooks {
				mutatingHook(&o.Webhooks[i]).setDefaults()
			}
		}),
		Prepare: prepare(func(o, old *admissionv1.MutatingWebhookConfiguration) {
			countSpecs(o, untyped(old), o.Webhooks, func() any { return old.Webhooks })
		}),
		PlainFinalizers: true,
		Validate: validate(func(o, old *admissionv1.MutatingWebhookConfiguration) fieldErrors {
			if old == nil {
				return checkHooks(hooksOf(o.Webhooks, mutatingHook), nil)
			}
			return checkHooks(hooksOf(o.Webhooks, mutatingHook), hooksOf(old.Webhooks, mutatingHook))
		}),
		Columns: []column{nameColumn(), integer("Webhooks", webhooksColumn), ageColumn()},
		Row: row(func(o *admissionv1.MutatingWebhookConfiguration, now time.Time) []any {
			return []any{o.Name, int64(len(o.Webhooks)), age(o, now)}
		}),
	}
}

// hook is what a validating and a mutating webhook have in common; it shares
// the webhook's fields.
type hook struct {
	name              string
	client            *admissionv1.WebhookClientConfig
	rules             []admissionv1.RuleWithOperations
	failurePolicy     **admissionv1.FailurePolicyType
	matchPolicy       **admissionv1.MatchPolicyType
	namespaceSelector **metav1.LabelSelector
	objectSelector    **metav1.LabelSelector
	sideEffects       *admissionv1.SideEffectClass
	timeout           **int32
	reviewVersions    []string
	conditions        []admissionv1.MatchCondition
	reinvocation      **admissionv1.ReinvocationPolicyType // nil for validating ones
}

func validatingHook(w *admissionv1.ValidatingWebhook) hook {
	return hook{
		name: w.Name, client: &w.ClientConfig, rules: w.Rules, failurePolicy: &w.FailurePolicy, matchPolicy: &w.MatchPolicy,
		namespaceSelector: &w.NamespaceSelector, objectSelector: &w.ObjectSelector, sideEffects: w.SideEffects,
		timeout: &w.TimeoutSeconds, reviewVersions: w.AdmissionReviewVersions, conditions: w.MatchConditions,
	}
}

func mutatingHook(w *admissionv1.MutatingWebhook) hook {
	return hook{
		name: w.Name, client: &w.ClientConfig, rules: w.Rules, failurePolicy: &w.FailurePolicy, matchPolicy: &w.MatchPolicy,
		namespaceSelector: &w.NamespaceSelector, objectSelector: &w.ObjectSelector, sideEffects: w.SideEffects,
		timeout: &w.TimeoutSeconds, reviewVersions: w.AdmissionReviewVersions, conditions: w.MatchConditions,
		reinvocation: &w.ReinvocationPolicy,
	}
}

func hooksOf[T any](webhooks []T, of func(*T) hook) []hook {
	out := make([]hook, len(webhooks))
	for i := range webhooks {
		out[i] = of(&webhooks[i])
	}
	return out
}

func (h hook) setDefaults() {
	setDefaultPtr(h.failurePolicy, admissionv1.Fail)
	setDefaultPtr(h.matchPolicy, admissionv1.Equivalent)
	setDefaultPtr(h.namespaceSelector, metav1.LabelSelector{})
	setDefaultPtr(h.objectSelector, metav1.LabelSelector{})
	setDefaultPtr(h.timeout, defaultWebhookTimeout)
	if h.reinvocation != nil {
		setDefaultPtr(h.reinvocation, admissionv1.NeverReinvocationPolicy)
	}
	for i := range h.rules {
		setDefaultPtr(&h.rules[i].Scope, admissionv1.AllScopes)
	}
	if h.client.Service != nil {
		setDefaultPtr(&h.client.Service.Port, defaultWebhookPort)
	}
}
