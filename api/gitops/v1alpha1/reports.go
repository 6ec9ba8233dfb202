package v1alpha1

import (
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ReportsSpec says where the state of the cluster is written back to.
type ReportsSpec struct {
	// Disabled switches reports off.
	// +optional
	Disabled bool `json:"disabled,omitempty"`
	// Branch to write to. Default "headway/<name of the cluster>".
	// +optional
	Branch string `json:"branch,omitempty"`
	// URL of another repository to write to, of any form that the source's may
	// have but a bundle's. Default: the source's own; when that takes no pushes,
	// hosted:<name of the source>.
	// +optional
	URL string `json:"url,omitempty"`
	// SecretRef names the Secret with the credentials for that repository; its
	// keys are those of spec.secretRef. The source's caBundle counts here too.
	// +optional
	SecretRef *SecretReference `json:"secretRef,omitempty"`
	// ReadOnly says that the source's repository takes no pushes, so that none is
	// tried: reports go to hosted:<name of the source>.
	// +optional
	ReadOnly bool `json:"readOnly,omitempty"`
}

func validateReportsTarget(s *GitSourceSpec, at *field.Path) field.ErrorList {
	r := &s.Reports
	var errs field.ErrorList
	if r.URL == "" {
		if r.SecretRef != nil {
			errs = append(errs, field.Forbidden(at.Child("secretRef"), "the source's own repository has spec.secretRef; set url for another one"))
		}
		return errs
	}
	errs = append(errs, validateURL(r.URL, at.Child("url"))...)
	if r.ReadOnly {
		errs = append(errs, field.Forbidden(at.Child("readOnly"), "reports go to the url: nothing is pushed to the source's repository"))
	}
	if ref := r.SecretRef; ref != nil {
		errs = append(errs, validateObject(ref.Namespace, ref.Name, at.Child("secretRef"))...)
	} else if strings.HasPrefix(r.URL, "ssh://") || scpLike.MatchString(r.URL) {
		errs = append(errs, field.Required(at.Child("secretRef"), `ssh needs a Secret with "identity" (a private key) and "known_hosts" (the host's key)`))
	}
	return errs
}
