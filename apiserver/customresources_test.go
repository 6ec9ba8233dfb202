package apiserver_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/headway-sh/headway/apiserver"
)

// widgets is a definition with something of everything.
const widgets = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.shop.example.com}
spec:
  group: shop.example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget, shortNames: [wd], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.size}
    - {name: Color, type: string, jsonPath: .spec.color, priority: 1}
    selectableFields: [{jsonPath: .spec.color}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [size]
            x-kubernetes-validations:
            - {rule: self.size <= self.limit, messageExpression: 'self.limit > 5 ? "size is over a high limit" : "size is over a low limit"'}
            - {rule: self.color == oldSelf.color, message: color is immutable}
            properties:
              size: {type: integer, minimum: 1}
              limit: {type: integer, default: 10}
              color: {type: string, default: red, enum: [red, blue]}
              replicas: {type: integer, default: 1}
              port: {x-kubernetes-int-or-string: true, anyOf: [{type: integer}, {type: string}]}
              parts:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items: {type: object, required: [name], properties: {name: {type: string}, count: {type: integer}}}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true}
          status:
            type: object
            properties: {replicas: {type: integer}, selector: {type: string}}
  - name: v2
    served: true
    storage: false
    deprecated: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {size: {type: integer}, limit: {type: integer}, color: {type: string}}}
`

var widgetsResource = schema.GroupVersionResource{Group: "shop.example.com", Version: "v1", Resource: "widgets"}

func definition(t *testing.T, text string) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	check(t, yaml.UnmarshalStrict([]byte(text), crd))
	return crd
}

// shop is a server with the widgets' definition, and its clients.
type shop struct {
	server  *apiserver.Server
	crds    *apiextensions.Clientset
	dynamic dynamic.Interface
}

func openShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{server: start(t)}
	config := clientConfig(t, s.server, "ada", "system:masters")
	var err error
	s.crds, err = apiextensions.NewForConfig(config)
	check(t, err)
	s.dynamic, err = dynamic.NewForConfig(config)
	check(t, err)
	s.define(t, widgets)
	return s
}

func (s *shop) define(t *testing.T, text string) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	crd, err := s.crds.ApiextensionsV1().CustomResourceDefinitions().Create(t.Context(), definition(t, text), metav1.CreateOptions{})
	check(t, err)
	return crd
}

func (s *shop) widgets() dynamic.ResourceInterface {
	return s.dynamic.Resource(widgetsResource).Namespace("default")
}

func widget(t *testing.T, name, spec string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{}}
	check(t, yaml.Unmarshal([]byte(`{apiVersion: shop.example.com/v1, kind: Widget, metadata: {name: `+name+`}, spec: `+spec+`}`), &u.Object))
	b, err := json.Marshal(u.Object)
	check(t, err)
	check(t, u.UnmarshalJSON(b)) // whole numbers are int64 then
	return u
}

func at(t *testing.T, u *unstructured.Unstructured, path string) any {
	t.Helper()
	value, _, err := unstructured.NestedFieldNoCopy(u.Object, strings.Split(path, ".")...)
	check(t, err)
	return value
}

// TestCustomResourceWrites tables what writes are let through, changed and
// refused, word for word.
func TestCustomResourceWrites(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	for _, c := range []struct{ name, spec, validation, refused string }{
		{"small", "{size: 3}", "Strict", ""},
		{"wrong-type", "{size: big}", "Strict", `spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"`},
		{"missing", "{}", "Strict", "spec.size: Required value"},
		{"too-small", "{size: 0}", "Strict", "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"},
		{"enum", "{size: 1, color: green}", "Strict", `spec.color: Unsupported value: "green": supported values: "red", "blue"`},
		{"rule", "{size: 11}", "Strict", "size is over a high limit"},
		{"unknown", "{size: 1, sise: 2}", "Strict", `strict decoding error: unknown field "spec.sise"`},
		{"unknown-warned", "{size: 1, sise: 2}", "Warn", ""},
		{"kept", "{size: 1, free: {any: {thing: 1}}}", "Strict", ""},
		{"port-number", "{size: 1, port: 80}", "Strict", ""},
		{"port-name", "{size: 1, port: http}", "Strict", ""},
		{"port-list", "{size: 1, port: []}", "Strict", "spec.port"},
		{"twice", "{size: 1, parts: [{name: a}, {name: a}]}", "Strict", `spec.parts[1]: Duplicate value: {"name":"a"}`},
	} {
		got, err := s.widgets().Create(t.Context(), widget(t, c.name, c.spec), metav1.CreateOptions{FieldValidation: c.validation})
		switch {
		case c.refused == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.refused == "":
			if at(t, got, "spec.limit") != int64(10) || at(t, got, "spec.color") != "red" || at(t, got, "spec.sise") != nil || got.GetGeneration() != 1 {
				t.Errorf("%s: stored %v", c.name, got.Object)
			}
		case err == nil || !strings.Contains(err.Error(), c.refused):
			t.Errorf("%s: %v, want %q", c.name, err, c.refused)
		}
	}
	kept, err := s.widgets().Get(t.Context(), "kept", metav1.GetOptions{})
	check(t, err)
	if at(t, kept, "spec.free.any.thing") != int64(1) {
		t.Errorf("preserved %v", kept.Object)
	}
	if _, err := s.widgets().Patch(t.Context(), "small", types.MergePatchType, []byte(`{"spec":{"color":"blue"}}`), metav1.PatchOptions{}); err == nil || !strings.Contains(err.Error(), "color is immutable") {
		t.Errorf("a transition that its rule forbids: %v", err)
	}
	if _, err := s.widgets().Patch(t.Context(), "small", types.StrategicMergePatchType, []byte(`{}`), metav1.PatchOptions{}); !apierrors.IsUnsupportedMediaType(err) {
		t.Errorf("a strategic merge patch: %v", err)
	}
}

// TestCustomResourceSubresources keeps status and spec apart, scales, and
// counts generations.
func TestCustomResourceSubresources(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	ctx := t.Context()
	o := widget(t, "w", "{size: 2}")
	o.Object["status"] = map[string]any{"replicas": int64(7)}
	o, err := s.widgets().Create(ctx, o, metav1.CreateOptions{})
	check(t, err)
	if o.Object["status"] != nil {
		t.Errorf("created with a status: %v", o.Object)
	}
	o.Object["status"] = map[string]any{"replicas": int64(1), "selector": "a=b"}
	o.Object["spec"].(map[string]any)["size"] = int64(5)
	o, err = s.widgets().UpdateStatus(ctx, o, metav1.UpdateOptions{})
	check(t, err)
	if at(t, o, "status.replicas") != int64(1) || at(t, o, "spec.size") != int64(2) || o.GetGeneration() != 1 {
		t.Errorf("after a status update: %v", o.Object)
	}
	scale, err := s.widgets().Get(ctx, "w", metav1.GetOptions{}, "scale")
	check(t, err)
	if at(t, scale, "spec.replicas") != int64(1) || at(t, scale, "status.selector") != "a=b" || scale.GetKind() != "Scale" {
		t.Errorf("scale is %v", scale.Object)
	}
	_, err = s.widgets().Patch(ctx, "w", types.MergePatchType, []byte(`{"spec":{"replicas":4}}`), metav1.PatchOptions{}, "scale")
	check(t, err)
	o, err = s.widgets().Get(ctx, "w", metav1.GetOptions{})
	check(t, err)
	if at(t, o, "spec.replicas") != int64(4) || o.GetGeneration() != 2 {
		t.Errorf("scaled to %v", o.Object)
	}
}

// TestCustomResourceVersions reads and writes in both versions.
func TestCustomResourceVersions(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	ctx := t.Context()
	_, err := s.widgets().Create(ctx, widget(t, "w", "{size: 2, replicas: 3}"), metav1.CreateOptions{})
	check(t, err)
	v2 := s.dynamic.Resource(schema.GroupVersionResource{Group: "shop.example.com", Version: "v2", Resource: "widgets"}).Namespace("default")
	o, err := v2.Get(ctx, "w", metav1.GetOptions{})
	check(t, err)
	if o.GetAPIVersion() != "shop.example.com/v2" || at(t, o, "spec.size") != int64(2) || at(t, o, "spec.replicas") != nil {
		t.Errorf("in v2 it is %v", o.Object)
	}
	list, err := v2.List(ctx, metav1.ListOptions{})
	check(t, err)
	if len(list.Items) != 1 || list.Items[0].GetAPIVersion() != "shop.example.com/v2" || list.GetKind() != "WidgetList" {
		t.Errorf("listed %v", list.Object)
	}
	o.Object["spec"].(map[string]any)["size"] = int64(4)
	o, err = v2.Update(ctx, o, metav1.UpdateOptions{FieldManager: "second"})
	check(t, err)
	if o.GetAPIVersion() != "shop.example.com/v2" {
		t.Errorf("answered in %s", o.GetAPIVersion())
	}
	back, err := s.widgets().Get(ctx, "w", metav1.GetOptions{})
	check(t, err)
	if back.GetAPIVersion() != "shop.example.com/v1" || at(t, back, "spec.size") != int64(4) {
		t.Errorf("in v1 it is %v", back.Object)
	}
}

// TestCustomResourceApply merges lists by their keys and finds conflicts.
func TestCustomResourceApply(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	ctx := t.Context()
	apply := func(manager, spec string, force bool) (*unstructured.Unstructured, error) {
		return s.widgets().Apply(ctx, "w", widget(t, "w", spec), metav1.ApplyOptions{FieldManager: manager, Force: force})
	}
	_, err := apply("one", "{size: 2, parts: [{name: a, count: 1}]}", false)
	check(t, err)
	o, err := apply("two", "{parts: [{name: b, count: 2}]}", false)
	check(t, err)
	if parts := at(t, o, "spec.parts").([]any); len(parts) != 2 {
		t.Errorf("parts %v", parts)
	}
	if _, err := apply("two", "{size: 3}", false); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), ".spec.size") {
		t.Errorf("a field of another manager: %v", err)
	}
	o, err = apply("two", "{size: 3}", true)
	check(t, err)
	if parts := at(t, o, "spec.parts").([]any); len(parts) != 1 || at(t, o, "spec.size") != int64(3) {
		t.Errorf("forced to %v", o.Object)
	}
	if _, err := apply("one", "{size: 3, sise: 1}", true); err == nil || !strings.Contains(err.Error(), ".spec.sise: field not declared in schema") {
		t.Errorf("an unknown field: %v", err)
	}
}

// TestDefinitionIsFinished deletes a definition with objects: watches end,
// nothing can be created, and the definition stays until the last object goes.
func TestDefinitionIsFinished(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	ctx := t.Context()
	held := widget(t, "held", "{size: 1}")
	held.SetFinalizers([]string{"example.com/hold"})
	_, err := s.widgets().Create(ctx, held, metav1.CreateOptions{})
	check(t, err)
	_, err = s.widgets().Create(ctx, widget(t, "free", "{size: 1}"), metav1.CreateOptions{})
	check(t, err)
	watching, err := s.widgets().Watch(ctx, metav1.ListOptions{})
	check(t, err)
	defer watching.Stop()
	definitions := s.crds.ApiextensionsV1().CustomResourceDefinitions()
	check(t, definitions.Delete(ctx, "widgets.shop.example.com", metav1.DeleteOptions{}))
	crd, err := definitions.Get(ctx, "widgets.shop.example.com", metav1.GetOptions{})
	check(t, err)
	if !apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Terminating) {
		t.Errorf("conditions %+v", crd.Status.Conditions)
	}
	if _, err := s.widgets().Create(ctx, widget(t, "late", "{size: 1}"), metav1.CreateOptions{}); !apierrors.IsMethodNotSupported(err) {
		t.Errorf("created while it goes: %v", err)
	}
	await(t, watching, func(e watch.Event) bool {
		return e.Type == watch.Deleted && e.Object.(*unstructured.Unstructured).GetName() == "free"
	})
	_, err = s.widgets().Patch(ctx, "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	check(t, err)
	gone, err := definitions.Watch(ctx, metav1.ListOptions{ResourceVersion: crd.ResourceVersion})
	check(t, err)
	defer gone.Stop()
	await(t, gone, func(e watch.Event) bool { return e.Type == watch.Deleted })
	for e := range watching.ResultChan() {
		if e.Type == watch.Error { // the last one before the watch ends
			if err := apierrors.FromObject(e.Object); !apierrors.IsResourceExpired(err) {
				t.Errorf("the watch ends with %v", err)
			}
		}
	}
	if _, err := s.widgets().List(ctx, metav1.ListOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("listed afterwards: %v", err)
	}
	s.define(t, widgets)
	list, err := s.widgets().List(ctx, metav1.ListOptions{})
	check(t, err)
	if len(list.Items) > 0 {
		t.Errorf("a new definition finds %v", list.Items)
	}
}

func await(t *testing.T, w watch.Interface, done func(watch.Event) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		select {
		case e, ok := <-w.ResultChan():
			if !ok {
				t.Fatal("the watch ended")
			}
			if done(e) {
				return
			}
		case <-ctx.Done():
			t.Fatal("nothing came")
		}
	}
}
