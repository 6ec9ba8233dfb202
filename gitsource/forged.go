package gitsource

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/forge"
)

// forged is how telling the forge went.
type forged struct {
	err  error
	next time.Time // of another try
}

// takeForged says in a condition whether the forge is told.
func (s *source) takeForged(f *forged) {
	switch {
	case s.object.Spec.Forge == nil:
		meta.RemoveStatusCondition(&s.status.Conditions, v1alpha1.ConditionForge)
		return
	case f == nil:
		return
	case f.err == nil:
		s.condition(v1alpha1.ConditionForge, true, "Told", "the forge shows how commits fare")
		return
	}
	reason := "Unavailable"
	var refused *forge.Error
	if errors.As(f.err, &refused) {
		switch code := refused.Status; {
		case code == http.StatusTooManyRequests || refused.After > 0:
			reason = "RateLimited"
		case code == http.StatusUnauthorized || code == http.StatusForbidden:
			reason = "Unauthorized"
		case code == http.StatusNotFound:
			reason = "NotFound"
		case refused.Lasting():
			reason = "Refused"
		}
	}
	s.condition(v1alpha1.ConditionForge, false, reason, fmt.Sprintf("%v; the next try is at %s", f.err, f.next.UTC().Format("2006-01-02 15:04:05 UTC")))
}

// forgeProxy is the proxy to the forge: that of its own Secret, or the one by
// which the repository is reached.
func forgeProxy(view txn.View, spec *v1alpha1.GitSourceSpec, own *corev1.Secret) string {
	if proxy := strings.TrimSpace(string(own.Data["proxy"])); proxy != "" || spec.SecretRef == nil {
		return proxy
	}
	o, _ := view.Get(txn.Ref{Resource: secrets, Namespace: spec.SecretRef.Namespace, Name: spec.SecretRef.Name})
	if git, ok := o.(*corev1.Secret); ok {
		return strings.TrimSpace(string(git.Data["proxy"]))
	}
	return ""
}
