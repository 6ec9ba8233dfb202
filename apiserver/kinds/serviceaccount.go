package kinds

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func serviceAccountKind() *kind.Kind {
	return &kind.Kind{
		GVK:           corev1.SchemeGroupVersion.WithKind("ServiceAccount"),
		Plural:        "serviceaccounts",
		Singular:      "serviceaccount",
		ShortNames:    []string{"sa"},
		Namespaced:    true,
		StoragePrefix: "serviceaccounts",
		New:           func() txn.Object { return &corev1.ServiceAccount{} },
		NewList:       func() runtime.Object { return &corev1.ServiceAccountList{} },
		Subresources: map[string]kind.Subresource{
			"token": {GVK: authenticationv1.SchemeGroupVersion.WithKind("TokenRequest"), Verbs: []string{"create"}, Connect: true},
		},
		Prepare: prepare(func(o, _ *corev1.ServiceAccount) {
			// Of secrets only names count.
			for i := range o.Secrets {
				o.Secrets[i] = corev1.ObjectReference{Name: o.Secrets[i].Name}
			}
		}),
		Warnings: warnings(serviceAccountWarnings),
		Columns:  []column{nameColumn(), ageColumn()},
		Row: row(func(o *corev1.ServiceAccount, now time.Time) []any {
			return []any{o.Name, age(o, now)}
		}),
	}
}

const mountableSecrets = "kubernetes.io/enforce-mountable-secrets"

func serviceAccountWarnings(o, old *corev1.ServiceAccount) []string {
	if old != nil {
		if _, had := old.Annotations[mountableSecrets]; had {
			return nil
		}
	}
	if _, has := o.Annotations[mountableSecrets]; !has {
		return nil
	}
	return []string{"metadata.annotations[" + mountableSecrets + "]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"}
}
