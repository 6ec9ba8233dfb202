package v1alpha1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// PromotionSpec has a source follow another environment: of the commits of its
// own ref only those are applied that are healthy there, and only forwards.
type PromotionSpec struct {
	// From is the environment that goes ahead.
	From PromotionOrigin `json:"from"`
	// After is how long a commit has to have been applied and healthy there.
	// Default 0.
	// +optional
	After *metav1.Duration `json:"after,omitempty"`
}

// PromotionOrigin is a source of this cluster, or one of another cluster as its
// report shows it.
type PromotionOrigin struct {
	// Source is the name of a GitSource: of this cluster, or with report of the
	// cluster that writes it.
	Source string `json:"source"`
	// Report is the branch in the source's own repository that another cluster
	// writes its reports to, as "headway/staging".
	// +optional
	Report string `json:"report,omitempty"`
}

// String names the origin for people.
func (o PromotionOrigin) String() string {
	if o.Report != "" {
		return o.Source + " of " + o.Report
	}
	return o.Source
}

// PromotionStatus is how far a source follows another environment.
type PromotionStatus struct {
	// Newest is the newest commit of the source's own ref.
	Newest string `json:"newest"`
	// Next is a commit that is healthy in the other environment and follows
	// later.
	// +optional
	Next string `json:"next,omitempty"`
	// NextTime is when it follows, if it stays healthy there.
	// +optional
	NextTime *metav1.Time `json:"nextTime,omitempty"`
	// Message for people.
	Message string `json:"message"`
}

const maxSoak = 90 * 24 * time.Hour

func validatePromotion(o *GitSource, at *field.Path) field.ErrorList {
	p := o.Spec.Promotion
	if p == nil {
		return nil
	}
	errs := validateName(p.From.Source, false, at.Child("from", "source"))
	switch branch := p.From.Report; {
	case branch == "" && p.From.Source == o.Name && o.Name != "":
		errs = append(errs, field.Invalid(at.Child("from", "source"), o.Name, "a source cannot go ahead of itself"))
	case branch != "":
		if msg := invalidRef("refs/heads/" + branch); msg != "" {
			errs = append(errs, field.Invalid(at.Child("from", "report"), branch, msg))
		}
	}
	if d := p.After; d != nil && (d.Duration < 0 || d.Duration > maxSoak) {
		errs = append(errs, field.Invalid(at.Child("after"), d.Duration.String(), "must be between 0 and "+maxSoak.String()))
	}
	return errs
}
