package kinds

import (
	"context"
	"strings"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

type definition = apiextensionsv1.CustomResourceDefinition

// customResourceDefinitionKind is the row of definitions. Names and conditions
// in their status are decided by the admission step of the package custom.
func customResourceDefinitionKind() *kind.Kind {
	p := partsOf(func(o *definition) *apiextensionsv1.CustomResourceDefinitionSpec { return &o.Spec },
		func(o *definition) *apiextensionsv1.CustomResourceDefinitionStatus { return &o.Status })
	return &kind.Kind{
		GVK:           apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"),
		Plural:        "customresourcedefinitions",
		Singular:      "customresourcedefinition",
		ShortNames:    []string{"crd", "crds"},
		Categories:    []string{"api-extensions"},
		StoragePrefix: "apiextensions.k8s.io/customresourcedefinitions",
		New:           func() txn.Object { return &definition{} },
		NewList:       func() runtime.Object { return &apiextensionsv1.CustomResourceDefinitionList{} },
		Name:          func(string, bool) []string { return nil }, // validation wants one name exactly
		Default:       defaults(defaultDefinition),
		Prepare:       prepare(prepareDefinition),
		Validate:      validate(checkDefinition),
		Delete:        deleteDefinition,
		Subresources:  map[string]kind.Subresource{"status": p.statusSubresource(checkDefinitionStatus)},
		Columns:       []column{nameColumn(), {Name: "Created At", Type: "date", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"]}},
		Row: row(func(o *definition, _ time.Time) []any {
			return []any{o.Name, o.CreationTimestamp.UTC().Format(time.RFC3339)}
		}),
	}
}

func defaultDefinition(o *definition) {
	apiextensionsv1.SetDefaults_CustomResourceDefinition(o)
	if c := o.Spec.Conversion; c.Webhook != nil && c.Webhook.ClientConfig != nil && c.Webhook.ClientConfig.Service != nil {
		apiextensionsv1.SetDefaults_ServiceReference(c.Webhook.ClientConfig.Service)
	}
}

func prepareDefinition(o, old *definition) {
	if old == nil {
		o.Generation = 1
		return
	}
	raiseGeneration(o, old, &o.Spec, &old.Spec)
}

// internal is a definition in the form that the validation takes. The
// conversion changes what it is given.
func internal(o *definition) (*apiextensions.CustomResourceDefinition, error) {
	out := &apiextensions.CustomResourceDefinition{}
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(o.DeepCopy(), out, nil); err != nil {
		return nil, err
	}
	return out, nil
}

// checkedBy runs a validation of the library. Its context only ends
// evaluations early, which are bounded by cost; metadata is checked for all
// kinds alike, but for the name.
func checkedBy(o, old *definition, create func(context.Context, *apiextensions.CustomResourceDefinition) field.ErrorList,
	update func(ctx context.Context, o, old *apiextensions.CustomResourceDefinition) field.ErrorList) fieldErrors {
	now, err := internal(o)
	if err != nil {
		return fieldErrors{field.InternalError(nil, err)}
	}
	var errs fieldErrors
	if old == nil {
		errs = create(context.Background(), now)
	} else {
		then, err := internal(old)
		if err != nil {
			return fieldErrors{field.InternalError(nil, err)}
		}
		errs = update(context.Background(), now, then)
	}
	var out fieldErrors
	for _, e := range errs {
		if e.Field == "metadata.name" || !strings.HasPrefix(e.Field, "metadata") {
			out = append(out, e)
		}
	}
	return out
}

func checkDefinition(o, old *definition) fieldErrors {
	errs := checkedBy(o, old, validation.ValidateCustomResourceDefinition, validation.ValidateCustomResourceDefinitionUpdate)
	if c := o.Spec.Conversion; c != nil && c.Strategy == apiextensionsv1.WebhookConverter {
		errs = append(errs, field.NotSupported(field.NewPath("spec", "conversion", "strategy"), c.Strategy, []apiextensionsv1.ConversionStrategyType{apiextensionsv1.NoneConverter}))
	}
	return errs
}

func checkDefinitionStatus(o, old *definition) fieldErrors {
	return checkedBy(o, old, nil, validation.ValidateUpdateCustomResourceDefinitionStatus)
}

// deleteDefinition lets a definition stay until its objects are gone.
func deleteDefinition(o txn.Object, _ *metav1.DeleteOptions, now time.Time) kind.Deletion {
	d := o.(*definition).DeepCopy()
	if !apihelpers.CRDHasFinalizer(d, apiextensionsv1.CustomResourceCleanupFinalizer) {
		d.Finalizers = append(d.Finalizers, apiextensionsv1.CustomResourceCleanupFinalizer)
	}
	apihelpers.SetCRDCondition(d, apiextensionsv1.CustomResourceDefinitionCondition{
		Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.UTC().Truncate(time.Second)),
		Reason: "InstanceDeletionPending", Message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
	})
	return kind.Deletion{Changed: d}
}
