package inproc

import (
	"iter"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/store"
	"github.com/headway-sh/headway/apiserver/write"
)

// get reads one object from a View.
func get(view txn.View, k *kind.Kind, key client.ObjectKey, out client.Object) error {
	if !k.Namespaced {
		key.Namespace = ""
	}
	o, ok := view.Get(k.Ref(key.Namespace, key.Name))
	if !ok {
		return apierrors.NewNotFound(k.Served(), key.Name)
	}
	return into(k, o, out)
}

// list reads what options select from a View, from after a reference on when
// that is not nil. extract are the fields that a cache was told to index
// besides the kind's own. When there is more than the options' limit it gives
// the last object's reference.
func list(view txn.View, k *kind.Kind, out client.ObjectList, o *client.ListOptions, extract map[string]client.IndexerFunc, after *txn.Ref) (*txn.Ref, error) {
	namespace := o.Namespace
	if !k.Namespaced {
		namespace = ""
	}
	rest, custom := split(o.FieldSelector, extract)
	if err := supported(k, rest); err != nil {
		return nil, err
	}
	var found []txn.Object
	var last *txn.Ref
	for object := range candidates(view, k, namespace, rest) {
		ref := k.Ref(object.GetNamespace(), object.GetName())
		if after != nil && ref.Compare(*after) <= 0 {
			continue
		}
		if !write.Selects(k, object, o.LabelSelector, rest) || !has(object, custom, extract) {
			continue
		}
		if o.Limit > 0 && len(found) == int(o.Limit) {
			end := k.Ref(found[len(found)-1].GetNamespace(), found[len(found)-1].GetName())
			last = &end
			break
		}
		found = append(found, object)
	}
	copied := o.UnsafeDisableDeepCopy == nil || !*o.UnsafeDisableDeepCopy
	return last, fill(out, k, found, strconv.FormatInt(view.Revision(), 10), copied)
}

// candidates are the objects that can match: those of an index of the kind
// where the selector names one, else those of the namespace.
func candidates(view txn.View, k *kind.Kind, namespace string, selector fields.Selector) iter.Seq[txn.Object] {
	if selector != nil {
		if name, ok := selector.RequiresExactMatch("metadata.name"); ok && (namespace != "" || !k.Namespaced) {
			return func(yield func(txn.Object) bool) {
				if o, ok := view.Get(k.Ref(namespace, name)); ok {
					yield(o)
				}
			}
		}
		for _, r := range selector.Requirements() {
			if !indexed(view, k, r.Field) || (r.Operator != selection.Equals && r.Operator != selection.DoubleEquals) {
				continue
			}
			return func(yield func(txn.Object) bool) {
				for o := range view.EachIndexed(k.Resource(), r.Field, r.Value) {
					if (namespace == "" || o.GetNamespace() == namespace) && !yield(o) {
						return
					}
				}
			}
		}
	}
	return view.Each(k.Resource(), namespace)
}

// indexed tells whether a View finds a kind's objects by a field. Those of a
// custom resource may be younger than the snapshot, or gone.
func indexed(view txn.View, k *kind.Kind, field string) bool {
	if k.Indexes[field] == nil || k.Shape == nil {
		return k.Indexes[field] != nil
	}
	snapshot, ok := view.(*store.Snapshot)
	return ok && snapshot.HasIndex(k.Resource(), field)
}

// split takes the requirements on a cache's own fields out of a selector.
func split(selector fields.Selector, extract map[string]client.IndexerFunc) (rest fields.Selector, custom fields.Requirements) {
	if selector == nil || len(extract) == 0 {
		return selector, nil
	}
	var kept []fields.Selector
	for _, r := range selector.Requirements() {
		switch {
		case extract[r.Field] != nil:
			custom = append(custom, r)
		case r.Operator == selection.NotEquals:
			kept = append(kept, fields.OneTermNotEqualSelector(r.Field, r.Value))
		default:
			kept = append(kept, fields.OneTermEqualSelector(r.Field, r.Value))
		}
	}
	return fields.AndSelectors(kept...), custom
}

func has(o txn.Object, requirements fields.Requirements, extract map[string]client.IndexerFunc) bool {
	for _, r := range requirements {
		found := false
		for _, value := range extract[r.Field](o) {
			found = found || value == r.Value
		}
		if found == (r.Operator == selection.NotEquals) {
			return false
		}
	}
	return true
}

// supported refuses fields that the kind does not offer, as the API does.
func supported(k *kind.Kind, selector fields.Selector) error {
	if selector == nil {
		return nil
	}
	for _, r := range selector.Requirements() {
		if r.Field != "metadata.name" && r.Field != "metadata.namespace" && k.Fields[r.Field] == nil && k.Indexes[r.Field] == nil {
			return apierrors.NewBadRequest("field label not supported: " + r.Field)
		}
	}
	return nil
}

func listOptions(options []client.ListOption) *client.ListOptions {
	o := (&client.ListOptions{}).ApplyOptions(options)
	if raw := o.Raw; raw != nil {
		if o.LabelSelector == nil && raw.LabelSelector != "" {
			if s, err := labels.Parse(raw.LabelSelector); err == nil {
				o.LabelSelector = s
			}
		}
		if o.FieldSelector == nil && raw.FieldSelector != "" {
			if s, err := fields.ParseSelector(raw.FieldSelector); err == nil {
				o.FieldSelector = s
			}
		}
	}
	return o
}
