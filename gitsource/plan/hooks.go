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
	// Removed says that it is of the commit before, and no longer in this one.
	Removed bool

	stages  []stageWord
	deletes map[string]bool
}

// Occasion is why hooks are run.
type Occasion string

const (
	// Install is the first commit of a source, Upgrade any later one.
	Install Occasion = "install"
	Upgrade Occasion = "upgrade"
	// Delete is the commit that takes the hook itself out of git.
	Delete Occasion = "delete"
	// Rollback is the way back to the commit that has the hook.
	Rollback Occasion = "rollback"
)

// stageWord is a stage with when it counts.
type stageWord struct {
	stage v1alpha1.HookStage
	// only is the one occasion on which it counts; empty: installs and upgrades.
	only Occasion
}

// counts tells whether a word is for an occasion.
func (w stageWord) counts(on Occasion) bool {
	return w.only == on || w.only == "" && (on == Install || on == Upgrade)
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
			string(v1alpha1.HookPreRollback): {{v1alpha1.HookPreRollback, Rollback}}, string(v1alpha1.HookPostRollback): {{v1alpha1.HookPostRollback, Rollback}},
			"pre-delete": {{v1alpha1.HookPre, Delete}}, "post-delete": {{v1alpha1.HookPost, Delete}},
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
			"PreDelete": {{v1alpha1.HookPre, Delete}}, "PostDelete": {{v1alpha1.HookPost, Delete}},
		},
		map[string]string{
			"BeforeHookCreation": v1alpha1.HookDeleteBeforeCreate, "HookSucceeded": v1alpha1.HookDeleteSucceeded, "HookFailed": v1alpha1.HookDeleteFailed,
		},
		false,
	},
	{
		"helm.sh/hook", "helm.sh/hook-weight", "helm.sh/hook-delete-policy",
		map[string][]stageWord{
			"pre-install": {{v1alpha1.HookPre, Install}}, "pre-upgrade": {{v1alpha1.HookPre, Upgrade}},
			"post-install": {{v1alpha1.HookPost, Install}}, "post-upgrade": {{v1alpha1.HookPost, Upgrade}},
			"pre-rollback": {{v1alpha1.HookPreRollback, Rollback}}, "post-rollback": {{v1alpha1.HookPostRollback, Rollback}},
			"pre-delete": {{v1alpha1.HookPre, Delete}}, "post-delete": {{v1alpha1.HookPost, Delete}},
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
				return true, fmt.Errorf("the annotation %s knows no %q: it takes pre, sync, post, on-failure, pre-rollback, post-rollback, pre-delete and post-delete", w.hook, word)
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

// Stages are those that the hook is run at on an occasion. For what is removed
// there is only one.
func (h *Hook) Stages(on Occasion) []v1alpha1.HookStage {
	if h.Removed {
		on = Delete
	}
	var out []v1alpha1.HookStage
	for _, w := range h.stages {
		if w.counts(on) && !slices.Contains(out, w.stage) {
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

// First tells whether the hook may come before anything of its commit is
// written.
func (h *Hook) First() bool {
	return slices.ContainsFunc(h.stages, func(w stageWord) bool { return w.stage == v1alpha1.HookPre && (w.only == Delete) == h.Removed })
}

// ForDeletion tells whether an object is a hook that is run when it is taken
// out of git.
func ForDeletion(o *render.Object) bool {
	h := Hook{Removed: true}
	is, err := h.read(o.Body.GetAnnotations())
	return o.Hook && is && err == nil && len(h.Stages(Delete)) > 0
}

// removed adds the hooks that this commit takes out of git. One that cannot be
// run any more, as its kind or its tenant is gone, is not.
func (p *Plan) removed(in *Input, r *resolver, tenancy *Tenancy) {
	for _, o := range in.Removed {
		w, err := r.resolve(o)
		if err != nil || tenancy.refusal(&w) != "" || p.Desired[w.ref] != nil || !ForDeletion(o) ||
			slices.ContainsFunc(p.Hooks, func(h Hook) bool { return h.Ref == w.ref }) {
			continue
		}
		h := Hook{Ref: w.ref, Entry: w.entry, Object: o, As: tenancy.As(w.entry.Tenant), Removed: true}
		if _, err := h.read(o.Body.GetAnnotations()); err == nil {
			p.Hooks = append(p.Hooks, h)
		}
	}
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
var stageOrder = []v1alpha1.HookStage{v1alpha1.HookPre, v1alpha1.HookSync, v1alpha1.HookPost, v1alpha1.HookOnFailure, v1alpha1.HookPreRollback, v1alpha1.HookPostRollback}

// Runs are the runs of hooks on an occasion, in order.
func Runs(hooks []Hook, on Occasion) []v1alpha1.HookRun {
	var out []v1alpha1.HookRun
	hooks = slices.Clone(hooks)
	slices.SortStableFunc(hooks, func(a, b Hook) int { return cmp.Or(cmp.Compare(a.Weight, b.Weight), Compare(a.Entry, b.Entry)) })
	for _, stage := range stageOrder {
		for _, h := range hooks {
			if slices.Contains(h.Stages(on), stage) {
				out = append(out, v1alpha1.HookRun{Object: h.Ref.String(), Stage: stage, Weight: h.Weight, Origin: h.Object.Origin(), Phase: v1alpha1.HookPending})
			}
		}
	}
	return out
}
