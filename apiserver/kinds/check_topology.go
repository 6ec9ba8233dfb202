package kinds

import (
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// topologies checks where volumes may be: each term says something else, each
// of its keys once, each of a key's values once.
func (c *checker) topologies(p *path, terms []corev1.TopologySelectorTerm) {
	var seen []map[string]sets.Set[string]
	for i := range terms {
		at := p.Index(i).Child("matchLabelExpressions")
		term := c.topology(at, terms[i].MatchLabelExpressions)
		// Kubernetes takes a term that says nothing for one that was there.
		if len(term) == 0 || slices.ContainsFunc(seen, func(other map[string]sets.Set[string]) bool { return reflect.DeepEqual(term, other) }) {
			c.add(field.Duplicate(at, ""))
		}
		seen = append(seen, term)
	}
}

func (c *checker) topology(p *path, list []corev1.TopologySelectorLabelRequirement) map[string]sets.Set[string] {
	term := map[string]sets.Set[string]{}
	for i := range list {
		at, r := p.Index(i), &list[i]
		if len(r.Values) == 0 {
			c.required(at.Child("values"), "")
		}
		values := sets.New[string]()
		for j, v := range r.Values {
			if values.Has(v) {
				c.add(field.Duplicate(at.Child("values").Index(j), v))
			}
			values.Insert(v)
		}
		c.add(metavalidation.ValidateLabelName(r.Key, at.Child("key"))...)
		if _, ok := term[r.Key]; ok {
			c.add(field.Duplicate(at.Child("key"), r.Key))
		}
		term[r.Key] = values
	}
	return term
}
