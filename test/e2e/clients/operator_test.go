package clients_test

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	controllerconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/test/e2e/testserver"
)

var fleetKind = schema.GroupVersionKind{Group: "sea.example.org", Version: "v1", Kind: "Fleet"}

const fleetFinalizer = "sea.example.org/harbour"

// fleets defines the kind of testOperator: with a status, a scale, and a
// minimum that the API server keeps.
func fleets() *apiextensionsv1.CustomResourceDefinition {
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "fleets.sea.example.org"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: fleetKind.Group, Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "fleets", Singular: "fleet", Kind: fleetKind.Kind, ListKind: "FleetList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: fleetKind.Version, Served: true, Storage: true,
				Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object",
					Properties: map[string]apiextensionsv1.JSONSchemaProps{
						"spec": {Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{
							"ships": {Type: "integer", Minimum: ptr.To(0.0)},
						}},
						"status": {Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{
							"afloat": {Type: "integer"},
						}},
					},
				}},
			}},
		},
	}
}

func fleet(name string, ships int64) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"ships": ships}}}
	o.SetGroupVersionKind(fleetKind)
	o.SetNamespace("operator")
	o.SetName(name)
	return o
}

// testOperator runs an operator for a kind of its own: it keeps a ConfigMap for
// each ship, counts them in the status, and clears up behind a finalizer.
func testOperator(t *testing.T, config *rest.Config) {
	namespace(t, clientset(t, config), "operator")
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), fleets()); err != nil {
		t.Fatal(err)
	}
	m, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Controller: controllerconfig.Controller{SkipNameValidation: ptr.To(true)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := ctrl.NewControllerManagedBy(m).For(fleet("", 0)).Owns(&corev1.ConfigMap{}).Complete(admiral(m.GetClient())); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Start(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()

	if err := c.Create(ctx, fleet("bad", -1)); !apierrors.IsInvalid(err) {
		t.Errorf("a fleet of -1 ships: %v", err)
	}
	one := fleet("one", 3)
	if err := c.Create(ctx, one); err != nil {
		t.Fatal(err)
	}
	afloat := func(n int64) func() bool {
		return func() bool {
			o := fleet("one", 0)
			if err := c.Get(ctx, client.ObjectKeyFromObject(one), o); err != nil {
				return false
			}
			got, _, _ := unstructured.NestedInt64(o.Object, "status", "afloat")
			return got == n && ships(ctx, t, c) == int(n)
		}
	}
	testserver.Await(t, "three ships", afloat(3))
	if err := c.Delete(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "operator", Name: "one-1"}}); err != nil {
		t.Fatal(err)
	}
	testserver.Await(t, "a lost ship is built again", afloat(3))
	if err := c.Patch(ctx, one, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"ships":1},"status":{"afloat":99}}`))); err != nil {
		t.Fatal(err)
	}
	testserver.Await(t, "one ship, and a status that only its subresource writes", afloat(1))
	if err := c.Delete(ctx, one); err != nil {
		t.Fatal(err)
	}
	testserver.Await(t, "nothing is left", func() bool {
		return apierrors.IsNotFound(c.Get(ctx, client.ObjectKeyFromObject(one), fleet("one", 0))) && ships(ctx, t, c) == 0
	})
}

func ships(ctx context.Context, t *testing.T, c client.Client) int {
	var list corev1.ConfigMapList
	if err := c.List(ctx, &list, client.InNamespace("operator"), client.HasLabels{"fleet"}); err != nil {
		t.Error(err)
	}
	return len(list.Items)
}

// admiral is the operator.
func admiral(c client.Client) reconcile.Reconciler {
	return reconcile.Func(func(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
		o := fleet("", 0)
		if err := c.Get(ctx, request.NamespacedName, o); err != nil {
			return reconcile.Result{}, client.IgnoreNotFound(err)
		}
		wanted, _, _ := unstructured.NestedInt64(o.Object, "spec", "ships")
		if o.GetDeletionTimestamp() != nil {
			wanted = 0
		} else if controllerutil.AddFinalizer(o, fleetFinalizer) {
			return reconcile.Result{}, c.Update(ctx, o)
		}
		var have corev1.ConfigMapList
		if err := c.List(ctx, &have, client.InNamespace(o.GetNamespace()), client.MatchingLabels{"fleet": o.GetName()}); err != nil {
			return reconcile.Result{}, err
		}
		names := map[string]bool{}
		for i := range wanted {
			names[fmt.Sprintf("%s-%d", o.GetName(), i)] = true
		}
		for i := range have.Items {
			ship := &have.Items[i]
			if names[ship.Name] {
				delete(names, ship.Name)
			} else if err := c.Delete(ctx, ship); client.IgnoreNotFound(err) != nil {
				return reconcile.Result{}, err
			}
		}
		for name := range names {
			ship := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: o.GetNamespace(), Name: name, Labels: map[string]string{"fleet": o.GetName()}}}
			if err := controllerutil.SetControllerReference(o, ship, c.Scheme()); err != nil {
				return reconcile.Result{}, err
			}
			if err := c.Create(ctx, ship); err != nil && !apierrors.IsAlreadyExists(err) {
				return reconcile.Result{}, err
			}
		}
		if o.GetDeletionTimestamp() != nil {
			controllerutil.RemoveFinalizer(o, fleetFinalizer)
			return reconcile.Result{}, c.Update(ctx, o)
		}
		if got, _, _ := unstructured.NestedInt64(o.Object, "status", "afloat"); got == wanted {
			return reconcile.Result{}, nil
		}
		if err := unstructured.SetNestedField(o.Object, wanted, "status", "afloat"); err != nil {
			return reconcile.Result{}, err
		}
		return reconcile.Result{}, c.Status().Update(ctx, o)
	})
}
