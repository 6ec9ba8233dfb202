package kinds

import (
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func ingressClassKind() *kind.Kind {
	doc := networkingv1.IngressClassSpec{}.SwaggerDoc()
	return &kind.Kind{
		GVK:           networkingv1.SchemeGroupVersion.WithKind("IngressClass"),
		Plural:        "ingressclasses",
		Singular:      "ingressclass",
		StoragePrefix: "ingressclasses",
		New:           func() txn.Object { return &networkingv1.IngressClass{} },
		NewList:       func() runtime.Object { return &networkingv1.IngressClassList{} },
		Default: defaults(func(o *networkingv1.IngressClass) {
			if o.Spec.Parameters != nil {
				setDefaultPtr(&o.Spec.Parameters.Scope, networkingv1.IngressClassParametersReferenceScopeCluster)
			}
		}),
		Prepare: prepare(func(o, old *networkingv1.IngressClass) {
			countSpecs(o, untyped(old), &o.Spec, func() any { return &old.Spec })
		}),
		Validate: validate(checkIngressClass),
		Columns:  []column{nameColumn(), str("Controller", doc["controller"]), str("Parameters", doc["parameters"]), ageColumn()},
		Row: row(func(o *networkingv1.IngressClass, now time.Time) []any {
			parameters := none
			if p := o.Spec.Parameters; p != nil {
				parameters = p.Kind
				if p.APIGroup != nil {
					parameters += "." + *p.APIGroup
				}
				parameters += "/" + p.Name
			}
			return []any{o.Name, o.Spec.Controller, parameters, age(o, now)}
		}),
	}
}
