package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/render"
)

// Hook is an object that is run once for each commit instead of being kept.
type Hook struct {
	Ref    txn.Ref
	Entry  Entry
	Object *render.Object
	// Weight orders the hooks of a stage.
	Weight int32
	// As is who it is made as; nil: the engine.
	As *txn.Identity

	stages  []stageWord
	deletes map[string]bool
}

// stageWord is a stage with when it counts.
type stageWord struct {
	stage v1alpha1.HookStage
	// only is "install" or "upgrade" where it counts for one of the two.
	only string
}

// words are what the annotations of hooks say, the project's own first. The
// first annotation that is there counts; a word without a stage never runs.
var words = []struct {
	hook, weight, deletes string
	stages                map[string][]stageWord
	deleteWords           map[string]string
	strict                bool // an unknown word is a mistake
}{
	{
		v1alpha1.AnnotationHook, v1alpha1.AnnotationHookWeight, v1alpha1.AnnotationHookDelete,
		map[string][]stageWord{
			string(v1alpha1.HookPre): {{v1alpha1.HookPre, ""}}, string(v1alpha1.HookSync): {{v1alpha1.HookSync, ""}},
			string(v1alpha1.HookPost): {{v1alpha1.HookPost, ""}}, string(v1alpha1.HookOnFailure): {{v1alpha1.HookOnFailure, ""}},
		},
		map[string]string{
			v1alpha1.HookDeleteBeforeCreate: v1alpha1.HookDeleteBeforeCreate, v1alpha1.HookDeleteSucceeded: v1alpha1.HookDeleteSucceeded,
			v1alpha1.HookDeleteFailed: v1alpha1.HookDeleteFailed,
		},
		true,
	},
	{
		"argocd.argoproj.io/hook", argoWave, "argocd.argoproj.io/hook-delete-policy",
		map[string][]stageWord{
			"PreSync": {{v1alpha1.HookPre, ""}}, "Sync": {{v1alpha1.HookSync, ""}}, "PostSync": {{v1alpha1.HookPost, ""}}, "SyncFail": {{v1alpha1.HookOnFailure, ""}},
		},
		map[string]string{
			"BeforeHookCreation": v1alpha1.HookDeleteBeforeCreate, "HookSucceeded": v1alpha1.HookDeleteSucceeded, "HookFailed": v1alpha1.HookDeleteFailed,
		},
		false,
	},
	{
		"helm.sh/hook", "helm.sh/hook-weight", "helm.sh/hook-delete-policy",
		map[string][]stageWord{
			"pre-install": {{v1alpha1.HookPre, "install"}}, "pre-upgrade": {{v1alpha1.HookPre, "upgrade"}},
			"post-install": {{v1alpha1.HookPost, "install"}}, "post-upgrade": {{v1alpha1.HookPost, "upgrade"}},
		},
		map[string]string{
			"before-hook-creation": v1alpha1.HookDeleteBeforeCreate, "hook-succeeded": v1alpha1.HookDeleteSucceeded, "hook-failed": v1alpha1.HookDeleteFailed,
		},
		false,
	},
}

// crdInstall is how charts of old say that a definition comes first, which it
// does anyway.
const crdInstall = "crd-install"

// read takes in an object's annotations. false says that it is no hook.
func (h *Hook) read(annotations map[string]string) (bool, error) {
	for _, w := range words {
		text := annotations[w.hook]
		if text == "" {
			continue
		}
		if text == crdInstall {
			return false, nil
		}
		for _, word := range list(text) {
			stages, ok := w.stages[word]
			if !ok && w.strict {
				return true, fmt.Errorf("the annotation %s knows no %q: it takes pre, sync, post and on-failure", w.hook, word)
			}
			h.stages = append(h.stages, stages...)
		}
		h.deletes = map[string]bool{}
		for _, word := range list(annotations[w.deletes]) {
			policy, ok := w.deleteWords[word]
			if !ok && w.strict {
				return true, fmt.Errorf("the annotation %s knows no %q: it takes before-create, succeeded and failed", w.deletes, word)
			}
			h.deletes[policy] = true
		}
		text = annotations[w.weight]
		if text == "" {
			return true, nil
		}
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return true, fmt.Errorf("the annotation %s must be a whole number, not %q", w.weight, text)
		}
		h.Weight = int32(n)
		return true, nil
	}
	return false, nil
}

func list(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}

// Stages are those that the hook is run at, for a first commit (an install)
// or a later one.
func (h *Hook) Stages(install bool) []v1alpha1.HookStage {
	var out []v1alpha1.HookStage
	for _, w := range h.stages {
		if (w.only == "" || (w.only == "install") == install) && !slices.Contains(out, w.stage) {
			out = append(out, w.stage)
		}
	}
	return out
}

// Deletes tells whether the hook's object is deleted after it has succeeded or
// failed.
func (h *Hook) Deletes(word string) bool { return h.deletes[word] }

// Kept tells whether what an earlier run has left is applied to and not made
// anew: more than the object would go with it.
func (h *Hook) Kept() bool {
	switch h.Ref.Resource {
	case namespaces, definitions, claims, volumes:
		return true
	}
	return false
}

// Body is the object as it is made for a run.
func (h *Hook) Body(source, run string) *unstructured.Unstructured {
	body := h.Object.Body.DeepCopy()
	body.SetNamespace(h.Ref.Namespace)
	if h.Ref.Namespace == "" {
		unstructured.RemoveNestedField(body.Object, "metadata", "namespace")
	}
	annotations := body.GetAnnotations()
	annotations[v1alpha1.AnnotationHookOf], annotations[v1alpha1.AnnotationHookRun] = source, run
	body.SetAnnotations(annotations)
	return body
}

// hook takes an object out of the set when it is one.
func (p *Plan) hook(w wanted, as *txn.Identity) (bool, error) {
	if !w.object.Hook {
		return false, nil
	}
	h := Hook{Ref: w.ref, Entry: w.entry, Object: w.object, As: as}
	is, err := h.read(w.object.Body.GetAnnotations())
	if is && err == nil {
		p.Hooks = append(p.Hooks, h)
	}
	return is, err
}

// stageOrder is the order in which stages are run.
var stageOrder = []v1alpha1.HookStage{v1alpha1.HookPre, v1alpha1.HookSync, v1alpha1.HookPost, v1alpha1.HookOnFailure}

// Runs are the runs of hooks for a commit, in order.
func Runs(hooks []Hook, install bool) []v1alpha1.HookRun {
	var out []v1alpha1.HookRun
	hooks = slices.Clone(hooks)
	slices.SortStableFunc(hooks, func(a, b Hook) int { return cmp.Or(cmp.Compare(a.Weight, b.Weight), Compare(a.Entry, b.Entry)) })
	for _, stage := range stageOrder {
		for _, h := range hooks {
			if slices.Contains(h.Stages(install), stage) {
				out = append(out, v1alpha1.HookRun{Object: h.Ref.String(), Stage: stage, Weight: h.Weight, Origin: h.Object.Origin(), Phase: v1alpha1.HookPending})
			}
		}
	}
	return out
}
