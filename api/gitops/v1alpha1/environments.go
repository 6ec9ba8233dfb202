package v1alpha1

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

// What environments have when the spec does not say.
const (
	DefaultEnvironmentTTL  = 72 * time.Hour
	MinEnvironmentTTL      = time.Minute
	DefaultMaxEnvironments = 10
	DefaultEnvironmentRole = "edit"
	// EnvironmentAccount is the name of what is made for an environment in its
	// namespace: account, binding and quota.
	EnvironmentAccount = "headway-environment"
	// maxEnvironmentPrefix leaves room for the reference in a namespace's name.
	maxEnvironmentPrefix = 30
)

// LabelEnvironmentOf on a Namespace or GitSource names the source whose
// reference it is an environment of.
const LabelEnvironmentOf = GroupName + "/environment-of"

// FinalizerEnvironment keeps an environment's GitSource until its objects are
// deleted.
const FinalizerEnvironment = GroupName + "/environment"

// PodSecurityLevel is a level of the Pod Security Standards.
// +enum
type PodSecurityLevel string

const (
	PodSecurityPrivileged PodSecurityLevel = "privileged"
	PodSecurityBaseline   PodSecurityLevel = "baseline"
	PodSecurityRestricted PodSecurityLevel = "restricted"
)

// EnvironmentsSpec gives references an environment each: their commits are
// rendered into a namespace of their own, which ends with the reference, when
// it is merged, or a time after its last push.
type EnvironmentsSpec struct {
	// Refs are patterns of full reference names, as those of previews. There is
	// no default: whoever may push to such a reference runs what he likes in the
	// cluster, and the heads of pull requests may be pushed by anybody.
	// +listType=atomic
	Refs []string `json:"refs"`
	// Prefix of the namespaces' names; the reference's name and a hash follow.
	// Default: the name of the source. At most 30 characters count.
	// +optional
	Prefix string `json:"prefix,omitempty"`
	// TTL is how long an environment lives after the last push to its reference.
	// Default 72h, at least 1m.
	// +optional
	TTL *metav1.Duration `json:"ttl,omitempty"`
	// Max is how many there are at a time, those with the newest pushes.
	// Default 10.
	// +optional
	Max *int32 `json:"max,omitempty"`
	// ClusterRole is what the environment's account may do in its namespace.
	// Default "edit".
	// +optional
	ClusterRole string `json:"clusterRole,omitempty"`
	// Namespaces are those of the commits whose objects come into the
	// environment's namespace, besides objects that name none. Objects in others,
	// and those outside of namespaces, are left out. Default: the source's target
	// namespace.
	// +optional
	// +listType=atomic
	Namespaces []string `json:"namespaces,omitempty"`
	// Quota is the hard limit of a ResourceQuota in the namespace, as
	// {pods: "20", limits.memory: 4Gi}.
	// +optional
	Quota map[string]resource.Quantity `json:"quota,omitempty"`
	// PodSecurity is the level that the namespace enforces. Default baseline.
	// +optional
	PodSecurity PodSecurityLevel `json:"podSecurity,omitempty"`
}

// EnvironmentSource says of a GitSource that it is the environment of another
// one's reference. The engine makes such GitSources and deletes them.
type EnvironmentSource struct {
	// Source is the name of the GitSource that it was made for.
	Source string `json:"source"`
	// Namespaces are those whose objects come into the target namespace.
	// +optional
	// +listType=atomic
	Namespaces []string `json:"namespaces,omitempty"`
}

// EnvironmentPhase is how far an environment has come.
// +enum
type EnvironmentPhase string

const (
	// EnvironmentPending says that it is being made.
	EnvironmentPending EnvironmentPhase = "Pending"
	// EnvironmentProgressing says that its commit becomes healthy.
	EnvironmentProgressing EnvironmentPhase = "Progressing"
	// EnvironmentHealthy says that it is.
	EnvironmentHealthy EnvironmentPhase = "Healthy"
	// EnvironmentFailed says that its commit was refused or did not become
	// healthy.
	EnvironmentFailed EnvironmentPhase = "Failed"
	// EnvironmentEnding says that it is being deleted.
	EnvironmentEnding EnvironmentPhase = "Ending"
	// EnvironmentExpired says that its time is over; the next push brings it back.
	EnvironmentExpired EnvironmentPhase = "Expired"
	// EnvironmentWaiting says that there are as many as there may be.
	EnvironmentWaiting EnvironmentPhase = "Waiting"
)

// EnvironmentStatus is the environment of one reference.
type EnvironmentStatus struct {
	// Ref is the full name of the reference.
	Ref string `json:"ref"`
	// Commit is its head.
	Commit string `json:"commit"`
	// Namespace is the name of the environment's namespace, and of its
	// GitSource.
	Namespace string `json:"namespace"`
	// Phase is how far it has come.
	Phase EnvironmentPhase `json:"phase"`
	// Message says why it is so.
	// +optional
	Message string `json:"message,omitempty"`
	// PushedTime is when the head was seen first.
	PushedTime metav1.Time `json:"pushedTime"`
	// Expires is when it ends, unless the reference is pushed to before.
	Expires metav1.Time `json:"expires"`
	// LeftOut is how many objects and files have no place in it; its GitSource
	// names them.
	// +optional
	LeftOut int32 `json:"leftOut,omitempty"`
}

// String gives "Healthy in the namespace shop-pull-7-head-1a2b3c4d until
// 2026-03-04 12:00 UTC".
func (e *EnvironmentStatus) String() string {
	out := string(e.Phase)
	switch e.Phase {
	case EnvironmentExpired, EnvironmentWaiting:
	default:
		out += " in the namespace " + e.Namespace
	}
	if e.Phase == EnvironmentHealthy || e.Phase == EnvironmentProgressing || e.Phase == EnvironmentFailed {
		out += " until " + e.Expires.UTC().Format("2006-01-02 15:04 UTC")
	}
	if e.Message != "" {
		out += ": " + e.Message
	}
	return out
}

func setDefaultsEnvironments(s *GitSourceSpec) {
	e := s.Previews.Environments
	if e == nil {
		return
	}
	if e.TTL == nil {
		e.TTL = &metav1.Duration{Duration: DefaultEnvironmentTTL}
	}
	if e.Max == nil {
		e.Max = ptr.To[int32](DefaultMaxEnvironments)
	}
	if e.ClusterRole == "" {
		e.ClusterRole = DefaultEnvironmentRole
	}
	if e.PodSecurity == "" {
		e.PodSecurity = PodSecurityBaseline
	}
	if len(e.Namespaces) == 0 {
		e.Namespaces = []string{s.TargetNamespace}
	}
}

var prefixOf = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

// validateEnvironments checks both ends: who has environments, and what is one.
func validateEnvironments(o *GitSource, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	s := &o.Spec
	if e := s.Previews.Environments; e != nil {
		errs = append(errs, validateEnvironmentsSpec(e, at.Child("previews", "environments"))...)
	}
	e := s.Environment
	if e == nil {
		return errs
	}
	at = at.Child("environment")
	if e.Source == "" || e.Source == o.Name {
		errs = append(errs, field.Invalid(at.Child("source"), e.Source, "must be the name of another GitSource"))
	}
	if s.ServiceAccountName == "" {
		errs = append(errs, field.Required(field.NewPath("spec", "serviceAccountName"), "an environment has an account of its own: it is made of what anybody may push"))
	}
	if s.Previews.Environments != nil || len(s.Tenants) > 0 || s.Decryption != nil || s.Forge != nil || s.Promotion != nil || len(s.Notifications) > 0 {
		errs = append(errs, field.Forbidden(at, "an environment has no environments, tenants, keys, forge, promotion or notifications of its own"))
	}
	return errs
}

func validateEnvironmentsSpec(e *EnvironmentsSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(e.Refs) == 0 {
		errs = append(errs, field.Required(at.Child("refs"), `say which references have environments, as "refs/heads/preview-*": whoever may push to one runs what he likes in its namespace`))
	}
	for i, p := range e.Refs {
		if _, err := path.Match(p, ""); err != nil || !strings.HasPrefix(p, "refs/") {
			errs = append(errs, field.Invalid(at.Child("refs").Index(i), p, "must be a pattern of full reference names that begins with refs/"))
		}
	}
	if e.Prefix != "" && (len(e.Prefix) > maxEnvironmentPrefix || !prefixOf.MatchString(e.Prefix)) {
		errs = append(errs, field.Invalid(at.Child("prefix"), e.Prefix, "must be at most 30 lower case letters, digits and dashes, and begin and end with a letter or digit"))
	}
	if e.TTL != nil && e.TTL.Duration < MinEnvironmentTTL {
		errs = append(errs, field.Invalid(at.Child("ttl"), e.TTL.Duration.String(), "must be at least "+MinEnvironmentTTL.String()))
	}
	if n := e.Max; n != nil && (*n < 1 || *n > 100) {
		errs = append(errs, field.Invalid(at.Child("max"), *n, "must be between 1 and 100"))
	}
	for i, n := range e.Namespaces {
		errs = append(errs, validateName(n, true, at.Child("namespaces").Index(i))...)
	}
	for name, q := range e.Quota {
		for _, msg := range validation.IsQualifiedName(name) {
			errs = append(errs, field.Invalid(at.Child("quota"), name, msg))
		}
		if q.Sign() < 0 {
			errs = append(errs, field.Invalid(at.Child("quota").Key(name), q.String(), "must not be negative"))
		}
	}
	if !slices.Contains([]PodSecurityLevel{"", PodSecurityPrivileged, PodSecurityBaseline, PodSecurityRestricted}, e.PodSecurity) {
		errs = append(errs, field.NotSupported(at.Child("podSecurity"), e.PodSecurity, []PodSecurityLevel{PodSecurityPrivileged, PodSecurityBaseline, PodSecurityRestricted}))
	}
	return errs
}
