package v1alpha1

import (
	"fmt"
	"regexp"
	"strings"
	"time"

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
	// Count is how many different people have to consent. Default 1.
	// +optional
	Count int32 `json:"count,omitempty"`
	// NotAuthor says that the consent of those who have written, committed,
	// signed or pushed what is new does not count, as far as that is known.
	// +optional
	NotAuthor bool `json:"notAuthor,omitempty"`
	// Expires is how long a consent counts, as "24h". Default: until it is used.
	// +optional
	Expires *metav1.Duration `json:"expires,omitempty"`
}

// Counts tells until when a consent counts, and whether it still does; nil:
// without an end.
func (s *ApprovalSpec) Counts(a *Approval, now time.Time) (until *metav1.Time, still bool) {
	if s.Expires == nil || a.Time == nil {
		return nil, true
	}
	until = &metav1.Time{Time: a.Time.Add(s.Expires.Duration)}
	return until, now.Before(until.Time)
}

// SamePerson tells whether a user of the cluster may be somebody whom git names,
// as "Jane Doe <jane@example.org>": by the name, the address, or the address's
// part before the @.
func SamePerson(user, named string) bool {
	name, address, _ := strings.Cut(strings.TrimSuffix(strings.TrimSpace(named), ">"), "<")
	local, _, _ := strings.Cut(address, "@")
	for _, one := range []string{name, address, local} {
		if one = strings.TrimSpace(one); one != "" && strings.EqualFold(one, user) {
			return true
		}
	}
	return false
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
	// Count is how many people have to consent, when more than one.
	// +optional
	Count int32 `json:"count,omitempty"`
	// Given are the consents that count so far.
	// +optional
	// +listType=atomic
	Given []Approval `json:"given,omitempty"`
	// Void says of other consents to the same plan why they do not count.
	// +optional
	// +listType=atomic
	Void []string `json:"void,omitempty"`
	// Authors are those whose consent does not count, as git names them; at most
	// 20.
	// +optional
	// +listType=atomic
	Authors []string `json:"authors,omitempty"`
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
	if a.Count < 0 || a.Count > maxApprovers {
		errs = append(errs, field.Invalid(at.Child("count"), a.Count, fmt.Sprintf("must be between 1 and %d", maxApprovers)))
	}
	if a.Expires != nil && a.Expires.Duration < time.Minute {
		errs = append(errs, field.Invalid(at.Child("expires"), a.Expires.Duration.String(), "must be a minute at least"))
	}
	if (a.Count > 0 || a.NotAuthor || a.Expires != nil) && (a.Required == "" || a.Required == ApprovalNever) {
		errs = append(errs, field.Forbidden(at, `count, notAuthor and expires count only where required is "destructive" or "always"`))
	}
	return errs
}

// maxApprovers is how many people may be asked at most.
const maxApprovers = 10

// ValidateApprovals says what is wrong with what was written through the
// subresource "approval".
func ValidateApprovals(o, _ *GitSource) field.ErrorList {
	var errs field.ErrorList
	seen := map[[2]string]bool{}
	for i, a := range o.Status.Approvals {
		at := field.NewPath("status", "approvals").Index(i)
		if !planDigest.MatchString(a.Digest) {
			errs = append(errs, field.Invalid(at.Child("digest"), a.Digest, "must be the digest of a plan, 32 hexadecimal digits"))
		}
		if seen[[2]string{a.Digest, a.By}] {
			errs = append(errs, field.Duplicate(at.Child("digest"), a.Digest))
		}
		if len(a.Reason) > 1024 {
			errs = append(errs, field.TooLong(at.Child("reason"), "", 1024))
		}
		seen[[2]string{a.Digest, a.By}] = true
	}
	return errs
}
