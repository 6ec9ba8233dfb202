package fieldmanager_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/fieldmanager"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/kinds"
)

// TestScaleIsTheLibrarys lets managers write a Deployment as a whole, its
// status and its scale at random, and compares whose fields they are with what
// the library makes of writes through a scale.
func TestScaleIsTheLibrarys(t *testing.T) {
	t.Parallel()
	scheme, err := kinds.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	fields := fieldmanager.New(scheme)
	all := kinds.All()
	k := *all[slices.IndexFunc(all, func(k *kind.Kind) bool { return k.GVK.Kind == "Deployment" })]
	k.Default = nil
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 3))
		var old txn.Object = &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: "shop"}, Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](1)}}
		if err := fields.Update(&k, nil, old, fieldmanager.Writer{Manager: "alice", Version: k.GVK.GroupVersion(), Now: time.Unix(0, 0)}); err != nil {
			t.Fatal(err)
		}
		for step := range 25 {
			w := fieldmanager.Writer{
				Manager: pick(r, "alice", "bob", "carol"), Version: k.GVK.GroupVersion(), Subresource: pick(r, "", "status", "scale", "scale"),
				Now: time.Unix(int64(step), 0),
			}
			o := old.DeepCopyObject().(txn.Object)
			if w.Subresource != "scale" {
				editDeployment(r, o)
				if d := o.(*appsv1.Deployment); d.Spec.Replicas == nil {
					d.Spec.Replicas = ptr.To[int32](1) // as it is defaulted
				}
				if err := fields.Update(&k, old, o, w); err != nil {
					t.Fatal(err)
				}
				old = o
				continue
			}
			// Not to nothing: in a Scale no replicas are the field's absence, so the
			// library makes nobody its owner. Here the one who wrote is.
			replicas := ptr.To(r.Int32N(3) + 1)
			o.(*appsv1.Deployment).Spec.Replicas = replicas
			want := owners(t, scaled(t, fields, old.(*appsv1.Deployment), *replicas, w))
			if err := fields.Update(&k, old, o, w); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, owners(t, o)); diff != "" {
				t.Fatalf("seed %d, step %d: %s scales from %v to %d (-library +ours):\n%s\nbefore:\n%v", seed, step, w.Manager,
					ptr.Deref(old.(*appsv1.Deployment).Spec.Replicas, -1), *replicas, diff, owners(t, old))
			}
			old = o
		}
	}
}

// scaled is a Deployment with the managed fields that the library gives it after
// a write through the scale.
func scaled(t *testing.T, fields *fieldmanager.Fields, d *appsv1.Deployment, replicas int32, w fieldmanager.Writer) txn.Object {
	t.Helper()
	handler := managedfields.NewScaleHandler(d.ManagedFields, w.Version,
		managedfields.ResourcePathMappings{w.Version.String(): fieldpath.MakePathOrDie("spec", "replicas")})
	entries, err := handler.ToSubresource()
	if err != nil {
		t.Fatal(err)
	}
	before := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: ptr.Deref(d.Spec.Replicas, 0)}}
	before.Name, before.Namespace, before.UID, before.ManagedFields = d.Name, d.Namespace, "uid", entries
	after := before.DeepCopy()
	after.Spec.Replicas = replicas
	scale := &kind.Kind{
		GVK: autoscalingv1.SchemeGroupVersion.WithKind("Scale"), New: func() txn.Object { return &autoscalingv1.Scale{} },
		Fielding: func() (managedfields.TypeConverter, error) {
			return managedfields.NewTypeConverter(scaleSchema(), false)
		},
	}
	w.Version = scale.GVK.GroupVersion()
	if err := fields.UpdateByLibrary(scale, before, after, w); err != nil {
		t.Fatal(err)
	}
	if entries, err = handler.ToParent(after.ManagedFields); err != nil {
		t.Fatal(err)
	}
	c := d.DeepCopy()
	c.ManagedFields = entries
	return c
}

// scaleSchema is what has to be known of a Scale's fields.
func scaleSchema() map[string]*spec.Schema {
	free := spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}}}
	free.AddExtension("x-kubernetes-preserve-unknown-fields", true)
	object := &spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}, Properties: map[string]spec.Schema{
		"apiVersion": *spec.StringProperty(), "kind": *spec.StringProperty(), "metadata": free, "status": free,
		"spec": {SchemaProps: spec.SchemaProps{Type: []string{"object"}, Properties: map[string]spec.Schema{"replicas": *spec.Int32Property()}}},
	}}}
	object.AddExtension("x-kubernetes-group-version-kind", []any{map[string]any{"group": "autoscaling", "version": "v1", "kind": "Scale"}})
	return map[string]*spec.Schema{"io.k8s.api.autoscaling.v1.Scale": object}
}

// owners are the entries without their times, which the library loses. It also
// has two entries of a manager where its name for him changes on the way.
func owners(t *testing.T, o txn.Object) map[string]string {
	t.Helper()
	sets := map[string]*fieldpath.Set{}
	for _, e := range o.GetManagedFields() {
		key := fmt.Sprintf("%s %s %s %q", e.Manager, e.Operation, e.APIVersion, e.Subresource)
		set := &fieldpath.Set{}
		if err := set.FromJSON(bytes.NewReader(e.FieldsV1.Raw)); err != nil {
			t.Fatal(err)
		}
		if before := sets[key]; before != nil {
			set = set.Union(before)
		}
		sets[key] = set
	}
	out := map[string]string{}
	for key, set := range sets {
		out[key] = set.String()
	}
	return out
}
