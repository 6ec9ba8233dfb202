package kinds_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kinds"
)

// TestConversionsLoseNothing takes random objects of the storage version
// through every other version and back.
func TestConversionsLoseNothing(t *testing.T) {
	t.Parallel()
	for _, k := range kinds.All() {
		for _, row := range k.Versions {
			t.Run(row.GVK.GroupVersion().String()+" "+row.GVK.Kind, func(t *testing.T) {
				t.Parallel()
				fill := filler(11)
				for range 50 {
					o := k.New()
					fill.Fill(o)
					o = settled(t, row, defaulted(k, o))
					before := o.DeepCopyObject().(txn.Object)
					if diff := diffObjects(before, settled(t, row, o)); diff != "" {
						t.Fatalf("there and back (-want +got):\n%s", diff)
					}
					if diff := diffObjects(before, o); diff != "" {
						t.Fatalf("the conversion changed its object (-want +got):\n%s", diff)
					}
				}
			})
		}
	}
}

// settled converts there and back once: what no version can tell apart, such as
// a target of a type that does not fit its values, is gone then.
func settled(t *testing.T, row interface {
	FromStored(txn.Object) (txn.Object, error)
	ToStored(txn.Object) (txn.Object, error)
}, o txn.Object) txn.Object {
	t.Helper()
	there, err := row.FromStored(o)
	if err != nil {
		t.Fatal(err)
	}
	back, err := row.ToStored(there)
	if err != nil {
		t.Fatal(err)
	}
	return back
}

// TestMapperKnowsVersions finds resources in every version.
func TestMapperKnowsVersions(t *testing.T) {
	t.Parallel()
	table := newTable(t)
	for _, c := range []struct {
		group, kind, version, want string
	}{
		{"autoscaling", "HorizontalPodAutoscaler", "v1", "autoscaling/v1, Resource=horizontalpodautoscalers"},
		{"autoscaling", "HorizontalPodAutoscaler", "", "autoscaling/v2, Resource=horizontalpodautoscalers"},
		{"events.k8s.io", "Event", "", "events.k8s.io/v1, Resource=events"},
		{"", "Event", "v1", "/v1, Resource=events"},
		{"", "Event", "v2", ""},
	} {
		m, err := table.RESTMapping(schema.GroupKind{Group: c.group, Kind: c.kind}, c.version)
		got := ""
		if err == nil {
			got = m.Resource.String()
		}
		if got != c.want {
			t.Errorf("%s %s %s: %q, want %q (%v)", c.group, c.kind, c.version, got, c.want, err)
		}
	}
}
