package admission

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	psa "k8s.io/pod-security-admission/admission"
	psaconfig "k8s.io/pod-security-admission/admission/api"
	psaapi "k8s.io/pod-security-admission/api"
	psametrics "k8s.io/pod-security-admission/metrics"
	"k8s.io/pod-security-admission/policy"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

// PodSecurity says which Pod Security Standard holds where a namespace's
// labels say nothing, and who is exempt. The zero value holds nobody to
// anything, as Kubernetes does by default.
type PodSecurity struct {
	// Enforce, Audit and Warn are levels: privileged (also when empty),
	// baseline or restricted.
	Enforce, Audit, Warn string
	// The versions of the standards, as v1.35; empty: the newest.
	EnforceVersion, AuditVersion, WarnVersion string
	// Exempt users, namespaces and runtime classes, by name.
	Users, Namespaces, RuntimeClasses []string
}

func (c PodSecurity) configuration() *psaconfig.PodSecurityConfiguration {
	level := func(s string) string {
		if s == "" {
			return string(psaapi.LevelPrivileged)
		}
		return s
	}
	return &psaconfig.PodSecurityConfiguration{
		Defaults: psaconfig.PodSecurityDefaults{
			Enforce: level(c.Enforce), EnforceVersion: cmp.Or(c.EnforceVersion, psaapi.VersionLatest),
			Audit: level(c.Audit), AuditVersion: cmp.Or(c.AuditVersion, psaapi.VersionLatest),
			Warn: level(c.Warn), WarnVersion: cmp.Or(c.WarnVersion, psaapi.VersionLatest),
		},
		Exemptions: psaconfig.PodSecurityExemptions{Usernames: c.Users, Namespaces: c.Namespaces, RuntimeClasses: c.RuntimeClasses},
	}
}

// Validate tells which level is none, or which exemption is no name.
func (c PodSecurity) Validate() error {
	_, err := c.admission()
	return err
}

func (c PodSecurity) admission() (*psa.Admission, error) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return nil, fmt.Errorf("pod security: %w", err)
	}
	a := &psa.Admission{Configuration: c.configuration(), Evaluator: evaluator, Metrics: unrecorded{}, PodSpecExtractor: psa.DefaultPodSpecExtractor{}}
	a.NamespaceGetter, a.PodLister = viewed{}, viewed{}
	if err := errors.Join(a.CompleteConfiguration(), a.ValidateConfiguration()); err != nil {
		return nil, fmt.Errorf("pod security: %w", err)
	}
	return a, nil
}

// podSecurity holds pods to the Pod Security Standards that the labels of their
// namespace name, and tells who writes workloads and namespaces what would not
// be let in. The standards and the words are the library's; the namespace and
// its pods come from the View.
func podSecurity(c PodSecurity) write.Step {
	admission := sync.OnceValues(c.admission) // costs nothing until somebody writes a pod
	judged := psa.DefaultPodSpecExtractor{}
	// Of the subresources only these change what a pod is allowed to do; a
	// status is written far more often, and must not wait for the namespace.
	specs := map[string]bool{"": true, "ephemeralcontainers": true, "resize": true}
	namespaces := corev1.Resource("namespaces")
	return write.Step{
		Name: "PodSecurity",
		Validate: func(ctx context.Context, view txn.View, r *write.Request) error {
			if r.Operation == write.OperationDelete || r.Ref.Resource != namespaces && !judged.HasPodSpec(r.Ref.Resource) || !specs[r.Subresource] {
				return nil
			}
			standard, err := admission()
			if err != nil {
				return apierrors.NewInternalError(err)
			}
			if r.Ref.Resource != namespaces {
				r.Decide(txn.Ref{Resource: namespaces, Name: r.Ref.Namespace})
			}
			one := *standard
			one.NamespaceGetter, one.PodLister = viewed{view}, viewed{view}
			response := one.Validate(ctx, attributes(r))
			for _, text := range response.Warnings {
				r.Warn(text)
			}
			for key, value := range response.AuditAnnotations {
				r.Annotate(psaapi.AuditAnnotationPrefix+key, value)
			}
			if !response.Allowed {
				return &apierrors.StatusError{ErrStatus: *response.Result}
			}
			return nil
		},
	}
}

// attributes are a request as the library sees it.
func attributes(r *write.Request) *psaapi.AttributesRecord {
	a := &psaapi.AttributesRecord{
		Name: r.Ref.Name, Namespace: r.Ref.Namespace, Kind: r.Kind.GVK, Resource: r.Kind.GVR(), Subresource: r.Subresource,
		Operation: admissionv1.Operation(r.Operation), Object: r.Object, Username: r.Identity.Name,
	}
	if r.Ref.Resource.Resource == "namespaces" {
		a.Namespace = r.Ref.Name // a namespace's own requests count as being in it
	}
	if r.Old != nil {
		a.OldObject = r.Old
	}
	return a
}

// viewed gives the library what it asks a cluster for.
type viewed struct{ txn.View }

var (
	_ psa.NamespaceGetter = viewed{}
	_ psa.PodLister       = viewed{}
)

func (v viewed) GetNamespace(_ context.Context, name string) (*corev1.Namespace, error) {
	o, ok := v.Get(txn.Ref{Resource: corev1.Resource("namespaces"), Name: name})
	if !ok {
		return nil, apierrors.NewNotFound(corev1.Resource("namespaces"), name)
	}
	return o.(*corev1.Namespace), nil
}

func (v viewed) ListPods(_ context.Context, namespace string) ([]*corev1.Pod, error) {
	var pods []*corev1.Pod
	for o := range v.Each(podsResource, namespace) {
		pods = append(pods, o.(*corev1.Pod))
	}
	return slices.Clip(pods), nil
}

// unrecorded keeps no metrics of the library's own: admission is measured as a whole.
type unrecorded struct{}

var _ psametrics.Recorder = unrecorded{}

func (unrecorded) RecordEvaluation(psametrics.Decision, psaapi.LevelVersion, psametrics.Mode, psaapi.Attributes) {
}
func (unrecorded) RecordExemption(psaapi.Attributes)   {}
func (unrecorded) RecordError(bool, psaapi.Attributes) {}
