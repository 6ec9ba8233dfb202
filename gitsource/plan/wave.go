package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
)

// waveOf is wave without a copy of the annotations, which most objects' waves
// are not worth.
func waveOf(body *unstructured.Unstructured) (int, error) {
	found, _, _ := unstructured.NestedFieldNoCopy(body.Object, "metadata", "annotations")
	annotations, _ := found.(map[string]any)
	for _, key := range []string{v1alpha1.AnnotationWave, argoWave} {
		if text, ok := annotations[key].(string); ok {
			return wave(map[string]string{key: text})
		}
	}
	return 0, nil
}

// Waits tells how objects are.
type Waits interface {
	// Healthy tells whether an object of the inventory is healthy as it is.
	Healthy(txn.Ref) bool
	// Static tells whether objects of a kind are healthy once they are written.
	Static(*Entry) bool
}

// argoWave is Argo CD's annotation of the same meaning.
const argoWave = "argocd.argoproj.io/sync-wave"

// wave is the wave that an object's annotations put it into.
func wave(annotations map[string]string) (int, error) {
	for _, key := range []string{v1alpha1.AnnotationWave, argoWave} {
		text, ok := annotations[key]
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return 0, fmt.Errorf("the annotation %s must be a whole number, not %q", key, text)
		}
		return int(n), nil
	}
	return 0, nil
}

// group is what can be written together once others are healthy.
type group struct {
	applies []wanted
	// after are those others, as far as they may not be healthy by then.
	after []txn.Ref
}

// inWaves groups ordered changes by their waves. A wave that has nothing to
// wait for joins the one before it: one transaction stays one. What has the
// API server call a workload of the same set comes at the end of its wave,
// once that workload is healthy: until then the API server could call nobody.
func inWaves(waits Waits, all, applies []wanted) []group {
	if waits == nil {
		return []group{{applies: applies}}
	}
	changed := make(map[txn.Ref]bool, len(applies))
	for _, w := range applies {
		changed[w.ref] = true
	}
	var slow []wanted // whatever may have to be waited for
	for _, w := range all {
		if changed[w.ref] && !waits.Static(&w.entry) || !changed[w.ref] && !waits.Healthy(w.ref) {
			slow = append(slow, w)
		}
	}
	backends := backendsOf(applies, all, slow)
	applies = slices.Clone(applies)
	slices.SortStableFunc(applies, func(a, b wanted) int {
		late := func(w wanted) int { return min(1, len(backends[w.ref])) }
		return cmp.Or(cmp.Compare(a.wave, b.wave), cmp.Compare(late(a), late(b)))
	})
	out := []group{{}}
	reached, waited := 0, map[txn.Ref]bool{}
	for i, w := range applies {
		after := backends[w.ref]
		if i == 0 || w.wave != reached {
			reached = w.wave
			for _, s := range slow {
				if s.wave < w.wave {
					after = append(after[:len(after):len(after)], s.ref)
				}
			}
		}
		after = slices.DeleteFunc(slices.Clone(after), func(ref txn.Ref) bool { return waited[ref] })
		if len(after) > 0 {
			out = append(out, group{after: after})
			for _, ref := range after {
				waited[ref] = true
			}
		}
		last := &out[len(out)-1]
		last.applies = append(last.applies, w)
	}
	return out
}

// backendsOf are the slow workloads that the API server would call because of
// a change: those behind the Services that it names, by their labels.
func backendsOf(applies, all, slow []wanted) map[txn.Ref][]txn.Ref {
	out := map[txn.Ref][]txn.Ref{}
	for _, w := range applies {
		for _, service := range called(schema.GroupKind{Group: w.entry.Group, Kind: w.entry.Kind}, w.object.Body.Object) {
			i := slices.IndexFunc(all, func(o wanted) bool { return o.ref == service })
			if i < 0 {
				continue
			}
			chosen := stringMap(all[i].object.Body.Object, "spec.selector")
			for _, backend := range slow {
				pod := stringMap(backend.object.Body.Object, "spec.template.metadata.labels")
				if backend.ref.Namespace == service.Namespace && len(chosen) > 0 && labels.SelectorFromSet(chosen).Matches(labels.Set(pod)) {
					out[w.ref] = append(out[w.ref], backend.ref)
				}
			}
		}
	}
	return out
}

func stringMap(body map[string]any, path string) map[string]string {
	out := map[string]string{}
	each(body, path, func(v any) {
		m, _ := v.(map[string]any)
		for k, v := range m {
			out[k] = fmt.Sprint(v)
		}
	})
	return out
}
