package custom

import (
	"encoding/json"
	"fmt"
	"maps"
	"sync"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// converter tells server-side apply which fields there are in each version.
type converter struct{ managedfields.TypeConverter }

const (
	metaName     = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
	refPrefix    = "#/components/schemas/"
	gvkExtension = "x-kubernetes-group-version-kind"
	listType     = "x-kubernetes-list-type"
	listMapKeys  = "x-kubernetes-list-map-keys"
	mapType      = "x-kubernetes-map-type"
	keepsUnknown = "x-kubernetes-preserve-unknown-fields"
)

func (s *shape) newConverter() func() (*converter, error) {
	return sync.OnceValues(func() (*converter, error) {
		schemas := map[string]*spec.Schema{metaName: objectMeta()}
		for name, v := range s.versions {
			schemas[name] = v.describe()
		}
		c, err := managedfields.NewTypeConverter(schemas, s.spec.PreserveUnknownFields)
		if err != nil {
			return nil, fmt.Errorf("read the fields of %s: %w", s.spec.Names.Kind, err)
		}
		return &converter{c}, nil
	})
}

// fielding is the row's Fielding.
func (s *shape) fielding() (managedfields.TypeConverter, error) {
	c, err := s.convert()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// described is the version's schema for OpenAPI.
func (v *version) described() ([]byte, error) {
	b, err := json.Marshal(v.describe())
	if err != nil {
		return nil, fmt.Errorf("encode the schema of %s: %w", v.gvk, err)
	}
	return b, nil
}

// describe is the version's schema with what every object has.
func (v *version) describe() *spec.Schema {
	structural := v.schema.structural
	if v.schema.preserve {
		structural = structural.DeepCopy()
		structural.XPreserveUnknownFields = true
	}
	embed := structuralschema.Visitor{Structural: embedMeta}
	whole := structural.DeepCopy()
	embed.Visit(whole)
	out := whole.ToKubeOpenAPI()
	if out.Properties == nil {
		out.Properties = map[string]spec.Schema{}
	} else {
		out.Properties = maps.Clone(out.Properties)
	}
	doc := metav1.TypeMeta{}.SwaggerDoc()
	out.Properties["apiVersion"] = *spec.StringProperty().WithDescription(doc["apiVersion"])
	out.Properties["kind"] = *spec.StringProperty().WithDescription(doc["kind"])
	meta := spec.RefSchema(refPrefix + metaName)
	out.Properties["metadata"] = *new(spec.Schema).WithAllOf(*meta).WithDescription("Standard object's metadata.")
	out.AddExtension(gvkExtension, []any{map[string]any{"group": v.gvk.Group, "version": v.gvk.Version, "kind": v.gvk.Kind}})
	return out
}

// embedMeta gives embedded objects the fields that they have without saying so.
func embedMeta(s *structuralschema.Structural) bool {
	if !s.XEmbeddedResource {
		return false
	}
	if s.Properties == nil {
		s.Properties = map[string]structuralschema.Structural{}
	}
	for _, name := range []string{"apiVersion", "kind"} {
		s.Properties[name] = structuralschema.Structural{Generic: structuralschema.Generic{Type: "string"}}
	}
	s.Properties["metadata"] = structuralschema.Structural{
		Generic: structuralschema.Generic{Type: "object"}, Extensions: structuralschema.Extensions{XPreserveUnknownFields: true},
	}
	return true
}

// objectMeta is how the fields of every object's metadata are merged.
func objectMeta() *spec.Schema {
	object := func(properties map[string]spec.Schema) *spec.Schema {
		s := new(spec.Schema).Typed("object", "")
		s.Properties = properties
		return s
	}
	list := func(of *spec.Schema, kind string, keys ...any) spec.Schema {
		s := spec.ArrayProperty(of)
		s.AddExtension(listType, kind)
		if len(keys) > 0 {
			s.AddExtension(listMapKeys, keys)
		}
		return *s
	}
	text, number, truth := *spec.StringProperty(), *spec.Int64Property(), *spec.BooleanProperty()
	owner := object(map[string]spec.Schema{"apiVersion": text, "kind": text, "name": text, "uid": text, "controller": truth, "blockOwnerDeletion": truth})
	owner.AddExtension(mapType, "atomic")
	managed := new(spec.Schema).Typed("object", "")
	managed.AddExtension(keepsUnknown, true)
	texts := *spec.MapProperty(spec.StringProperty())
	return object(map[string]spec.Schema{
		"name": text, "generateName": text, "namespace": text, "selfLink": text, "uid": text, "resourceVersion": text, "generation": number,
		"creationTimestamp": text, "deletionTimestamp": text, "deletionGracePeriodSeconds": number, "labels": texts, "annotations": texts,
		"ownerReferences": list(owner, "map", "uid"), "finalizers": list(spec.StringProperty(), "set"), "managedFields": list(managed, "atomic"),
	})
}
