package custom

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	apivalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// schema is one version's schema. Structure is what reading needs; validators
// are made for the first write.
type schema struct {
	structural *structuralschema.Structural
	// preserve keeps what the schema does not know.
	preserve   bool
	validators func() (*validators, error)
}

// validators check objects of one version.
type validators struct {
	whole, status apivalidation.SchemaValidator
	rules         *cel.Validator // nil when the schema has no rules
}

func newSchema(props *apiextensionsv1.JSONSchemaProps, preserve bool) (*schema, error) {
	internal := &apiextensions.JSONSchemaProps{}
	if props == nil {
		props = &apiextensionsv1.JSONSchemaProps{Type: "object"}
		preserve = true
	}
	// The conversion changes what it is given, and definitions are shared.
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(props.DeepCopy(), internal, nil); err != nil {
		return nil, fmt.Errorf("convert the schema: %w", err)
	}
	structural, err := structuralschema.NewStructural(internal)
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	if err := defaulting.PruneDefaults(structural); err != nil {
		return nil, fmt.Errorf("prune the schema's defaults: %w", err)
	}
	s := &schema{structural: structural, preserve: preserve}
	s.validators = sync.OnceValues(func() (*validators, error) { return newValidators(internal, structural) })
	return s, nil
}

func newValidators(internal *apiextensions.JSONSchemaProps, structural *structuralschema.Structural) (*validators, error) {
	whole, described, err := apivalidation.NewSchemaValidator(internal)
	if err != nil {
		return nil, fmt.Errorf("compile the schema: %w", err)
	}
	v := &validators{whole: whole, rules: cel.NewValidator(structural, true, celconfig.PerCallLimit)}
	if status, ok := described.Properties["status"]; ok {
		v.status = apivalidation.NewSchemaValidatorFromOpenAPI(&status)
	}
	return v, nil
}

// accept brings what a writer has sent into the schema's shape, and names the
// fields that the schema does not know and that are dropped.
func (s *schema) accept(u *unstructured.Unstructured) (unknown []string, err error) {
	return s.shape(u, false)
}

// settle brings what is stored, or what has been changed by others, into the
// schema's shape with its defaults.
func (s *schema) settle(u *unstructured.Unstructured) {
	// What is malformed in stored metadata is dropped, so nothing can fail.
	_, _ = s.shape(u, true)
	defaulting.Default(u.Object, s.structural)
}

// prune drops what the schema does not know.
func (s *schema) prune(u *unstructured.Unstructured) { _, _ = s.shape(u, true) }

// shape prunes and coerces an object: its own metadata are always those of
// every object, whatever the schema says about them.
func (s *schema) shape(u *unstructured.Unstructured, drop bool) (unknown []string, err error) {
	kind, version := u.GetKind(), u.GetAPIVersion()
	meta, hasMeta, unknown, err := objectmeta.GetObjectMetaWithOptions(u.Object,
		objectmeta.ObjectMetaOptions{DropMalformedFields: drop, ReturnUnknownFieldPaths: !drop})
	if err != nil {
		return nil, err
	}
	if !s.preserve {
		unknown = append(unknown, pruning.PruneWithOptions(u.Object, s.structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: !drop})...)
		defaulting.PruneNonNullableNullsWithoutDefaults(u.Object, s.structural)
	}
	wrong, paths := objectmeta.CoerceWithOptions(nil, u.Object, s.structural, false, objectmeta.CoerceOptions{DropInvalidFields: drop, ReturnUnknownFieldPaths: !drop})
	if wrong != nil {
		return nil, wrong
	}
	unknown = append(unknown, paths...)
	if kind != "" {
		u.SetKind(kind)
	}
	if version != "" {
		u.SetAPIVersion(version)
	}
	if hasMeta {
		if err := objectmeta.SetObjectMeta(u.Object, meta); err != nil {
			return nil, err
		}
	}
	return unknown, nil
}

// background is the context of the evaluators, which are bounded by cost and
// look at it only for a cancellation that nobody here would see.
var background = context.Background()
