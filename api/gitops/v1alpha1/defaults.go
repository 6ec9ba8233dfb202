package v1alpha1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// What a GitSource has when its spec does not say.
const (
	DefaultInterval         = time.Minute
	MinInterval             = 5 * time.Second
	DefaultTimeout          = 10 * time.Minute
	DefaultTargetNamespace  = metav1.NamespaceDefault
	DefaultMaxDeletePercent = 50
	DefaultMinDeletes       = 10
	DefaultMaxPreviews      = 20
)

// SetDefaultsGitSource fills in what the spec does not say.
func SetDefaultsGitSource(o *GitSource) {
	s := &o.Spec
	if len(s.Paths) == 0 {
		s.Paths = []string{"."}
	}
	if s.Interval == nil {
		s.Interval = &metav1.Duration{Duration: DefaultInterval}
	}
	if v := s.Verification; v != nil && v.Mode == "" {
		v.Mode = VerifyHead
	}
	if s.Render == "" {
		s.Render = RenderAuto
	}
	if s.TargetNamespace == "" {
		s.TargetNamespace = DefaultTargetNamespace
	}
	setDefaultsEnvironments(s)
	if s.Prune == nil {
		s.Prune = ptr.To(true)
	}
	if s.Timeout == nil {
		s.Timeout = &metav1.Duration{Duration: DefaultTimeout}
	}
	if s.Health.OnFailure == "" {
		s.Health.OnFailure = FailureRollback
	}
	if s.Health.Revert == "" {
		s.Health.Revert = RevertNone
	}
	if s.Drift.Policy == "" {
		s.Drift.Policy = DriftCorrect
	}
	if s.Approval.Required == "" {
		s.Approval.Required = ApprovalNever
	}
	if f := s.Forge; f != nil && f.Type == "" {
		f.Type = ForgeAuto
	}
	if s.Guards.MaxDeletePercent == nil {
		s.Guards.MaxDeletePercent = ptr.To[int32](DefaultMaxDeletePercent)
	}
	if s.Guards.MinDeletes == nil {
		s.Guards.MinDeletes = ptr.To[int32](DefaultMinDeletes)
	}
}

// SetDefaultsRelease has nothing to fill in.
func SetDefaultsRelease(*Release) {}

// SetDefaultsPlan has nothing to fill in.
func SetDefaultsPlan(*Plan) {}
