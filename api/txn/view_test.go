package txn_test

import (
	"iter"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"pgregory.net/rapid"

	"github.com/headway-sh/headway/api/txn"
)

var configMaps = schema.GroupResource{Resource: "configmaps"}

func ref(namespace, name string) txn.Ref {
	return txn.Ref{Resource: configMaps, Namespace: namespace, Name: name}
}

func object(namespace, name, label string) txn.Object {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"is": label}}}
}

func byLabel(_ schema.GroupResource, _ string, o txn.Object) []string {
	return []string{o.GetLabels()["is"]}
}

func names(seq iter.Seq[txn.Object]) []string {
	var out []string
	for o := range seq {
		out = append(out, o.GetNamespace()+"/"+o.GetName()+"="+o.GetLabels()["is"])
	}
	return out
}

func TestOverlayHidesAddsAndReplaces(t *testing.T) {
	t.Parallel()
	base := txn.Overlay(txn.Empty{}, map[txn.Ref]txn.Object{
		ref("a", "1"): object("a", "1", "old"),
		ref("a", "3"): object("a", "3", "old"),
		ref("b", "1"): object("b", "1", "old"),
	}, byLabel)
	view := txn.Overlay(base, map[txn.Ref]txn.Object{
		ref("a", "1"): nil,
		ref("a", "2"): object("a", "2", "new"),
		ref("a", "3"): object("a", "3", "new"),
		ref("b", "9"): object("b", "9", "new"),
	}, byLabel)
	for name, c := range map[string]struct {
		got  iter.Seq[txn.Object]
		want []string
	}{
		"all":           {view.Each(configMaps, ""), []string{"a/2=new", "a/3=new", "b/1=old", "b/9=new"}},
		"one namespace": {view.Each(configMaps, "a"), []string{"a/2=new", "a/3=new"}},
		"other kind":    {view.Each(schema.GroupResource{Resource: "pods"}, ""), nil},
		"index old":     {view.EachIndexed(configMaps, "label", "old"), []string{"b/1=old"}},
		"index new":     {view.EachIndexed(configMaps, "label", "new"), []string{"a/2=new", "a/3=new", "b/9=new"}},
	} {
		if diff := cmp.Diff(c.want, names(c.got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if _, ok := view.Get(ref("a", "1")); ok {
		t.Error("a hidden object is found")
	}
}

// An overlay on an overlay must show what one map of both would show, in order.
func TestOverlayEqualsMergedMap(t *testing.T) {
	t.Parallel()
	keys := rapid.Custom(func(t *rapid.T) txn.Ref {
		return ref(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "namespace"), rapid.SampledFrom([]string{"1", "2", "3", "4"}).Draw(t, "name"))
	})
	rapid.Check(t, func(t *rapid.T) {
		merged := map[txn.Ref]txn.Object{}
		var view txn.View = txn.Empty{}
		for _, layer := range []string{"x", "y", "z"} {
			pending := map[txn.Ref]txn.Object{}
			for _, k := range rapid.SliceOf(keys).Draw(t, "keys") {
				pending[k] = nil
				if rapid.Bool().Draw(t, "present") {
					pending[k] = object(k.Namespace, k.Name, layer)
				}
				merged[k] = pending[k]
			}
			view = txn.Overlay(view, pending, byLabel)
		}
		var sorted []txn.Ref
		for k, o := range merged {
			if o != nil {
				sorted = append(sorted, k)
			}
		}
		slices.SortFunc(sorted, txn.Ref.Compare)
		var want []string
		for _, k := range sorted {
			want = append(want, k.Namespace+"/"+k.Name+"="+merged[k].GetLabels()["is"])
		}
		if diff := cmp.Diff(want, names(view.Each(configMaps, ""))); diff != "" {
			t.Fatalf("-want +got:\n%s", diff)
		}
	})
}
