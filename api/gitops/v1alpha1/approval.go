package v1alpha1

import (
	"regexp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ApprovalPolicy is which commits wait for somebody's consent.
// +enum
type ApprovalPolicy string

const (
	// ApprovalNever applies commits without asking.
	ApprovalNever ApprovalPolicy = "never"
	// ApprovalDestructive asks about commits that delete or replace more objects
	// than maxDeletes, or that change, replace or delete a PersistentVolumeClaim,
	// a Namespace or a CustomResourceDefinition.
	ApprovalDestructive ApprovalPolicy = "destructive"
	// ApprovalAlways asks about every commit that changes anything in the
	// cluster.
	ApprovalAlways ApprovalPolicy = "always"
)

// ApprovalSpec says which commits wait until somebody has consented to the
// digest of their plan.
type ApprovalSpec struct {
	// Required is never (the default), destructive or always.
	// +optional
	Required ApprovalPolicy `json:"required,omitempty"`
	// MaxDeletes is how many objects a commit may delete or replace before it
	// counts as destructive. Default 0.
	// +optional
	MaxDeletes int32 `json:"maxDeletes,omitempty"`
}

// Approval is somebody's consent to exactly one plan. It is written through the
// subresource "approval" of a GitSource by whoever may "approve" that
// GitSource, and is used up by the commit that is applied with it.
type Approval struct {
	// Digest of the plan that is consented to.
	Digest string `json:"digest"`
	// Reason for people.
	// +optional
	Reason string `json:"reason,omitempty"`
	// By is who has consented; the server fills it in.
	// +optional
	By string `json:"by,omitempty"`
	// Time is when; the server fills it in.
	// +optional
	Time *metav1.Time `json:"time,omitempty"`
}

// AwaitedApproval is a commit that waits for consent.
type AwaitedApproval struct {
	// Commit that waits.
	Commit string `json:"commit"`
	// Digest of its plan as the cluster is now.
	Digest string `json:"digest"`
	// Summary counts what it would do.
	// +optional
	Summary OperationCounts `json:"summary,omitempty"`
	// Reason is why it has to be consented to.
	Reason string `json:"reason"`
	// Outdated says which consent was given before and what has changed since,
	// so that it no longer counts.
	// +optional
	Outdated string `json:"outdated,omitempty"`
}

// SubresourceApproval is where approvals are written, and VerbApprove what whoever
// writes them must be allowed on the GitSource.
const (
	SubresourceApproval = "approval"
	VerbApprove         = "approve"
)

// MaxApprovals is how many unused approvals a GitSource keeps, the newest ones.
const MaxApprovals = 50

var planDigest = regexp.MustCompile(`^[0-9a-f]{32}$`)

func validateApproval(a *ApprovalSpec, at *field.Path) field.ErrorList {
	errs := oneOf(a.Required, at.Child("required"), "", ApprovalNever, ApprovalDestructive, ApprovalAlways)
	switch {
	case a.MaxDeletes < 0:
		errs = append(errs, field.Invalid(at.Child("maxDeletes"), a.MaxDeletes, "must not be negative"))
	case a.MaxDeletes > 0 && a.Required != ApprovalDestructive:
		errs = append(errs, field.Forbidden(at.Child("maxDeletes"), `counts only where required is "destructive"`))
	}
	return errs
}

// ValidateApprovals says what is wrong with what was written through the
// subresource "approval".
func ValidateApprovals(o, _ *GitSource) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, a := range o.Status.Approvals {
		at := field.NewPath("status", "approvals").Index(i)
		if !planDigest.MatchString(a.Digest) {
			errs = append(errs, field.Invalid(at.Child("digest"), a.Digest, "must be the digest of a plan, 32 hexadecimal digits"))
		}
		if seen[a.Digest] {
			errs = append(errs, field.Duplicate(at.Child("digest"), a.Digest))
		}
		if len(a.Reason) > 1024 {
			errs = append(errs, field.TooLong(at.Child("reason"), "", 1024))
		}
		seen[a.Digest] = true
	}
	return errs
}
