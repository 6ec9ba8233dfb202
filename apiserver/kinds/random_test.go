package kinds_test

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/randfill"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/kinds"
)

// TestAnythingGoesThrough takes random objects of every kind through every
// function of its row: nothing may panic, touch the old object, or depend on
// how often defaults are filled in.
func TestAnythingGoesThrough(t *testing.T) {
	t.Parallel()
	for _, k := range kinds.All() {
		t.Run(k.GVK.Kind, func(t *testing.T) {
			t.Parallel()
			fill := filler(int64(len(k.Plural)) * 7)
			for range 10 {
				runRow(t, k, fill)
			}
		})
	}
}

func runRow(t *testing.T, k *kind.Kind, fill *randfill.Filler) {
	t.Helper()
	random := func() txn.Object {
		o := k.New()
		fill.Fill(o)
		return defaulted(k, o)
	}
	old, created := random(), random()
	create(k, created)
	if diff := diffObjects(created, defaulted(k, created)); diff != "" {
		t.Fatalf("stored and read again (-want +got):\n%s", diff)
	}
	before := old.DeepCopyObject().(txn.Object)
	k.ValidateMeta(created, nil)
	check(k, created, nil)
	k.ValidateMeta(created, old)
	check(k, created, old)
	if k.Warnings != nil {
		k.Warnings(created, old)
	}
	if cells := k.Row(created, goldenTime); len(cells) != len(k.Columns) {
		t.Fatalf("%d cells for %d columns", len(cells), len(k.Columns))
	}
	for _, f := range k.Fields {
		f(created)
	}
	for _, f := range k.Indexes {
		f(created)
	}
	if k.Delete != nil {
		k.Delete(old, nil, goldenTime)
	}
	if k.Held != nil {
		k.Held(old)
	}
	updated := created.DeepCopyObject().(txn.Object)
	if k.Prepare != nil {
		k.Prepare(updated, old)
	}
	for name, s := range k.Subresources {
		runSubresource(t, name, s, created.DeepCopyObject().(txn.Object), old)
	}
	if diff := cmp.Diff(true, reflect.DeepEqual(before, old)); diff != "" {
		t.Fatal("the old object was changed")
	}
}

func runSubresource(t *testing.T, name string, s kind.Subresource, o, old txn.Object) {
	t.Helper()
	if s.Connect {
		return
	}
	if s.Get != nil {
		parameter, err := s.Get(old)
		if err != nil {
			t.Fatalf("%s: get: %v", name, err)
		}
		if _, err := s.Set(old, parameter, goldenTime); err != nil && name == "approval" {
			t.Fatalf("%s: set what was got: %v", name, err)
		}
		return
	}
	if s.Prepare != nil {
		s.Prepare(o, old)
	}
	if s.Validate != nil {
		s.Validate(o, old)
	}
}
