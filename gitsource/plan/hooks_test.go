package plan_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/render"
)

// TestHooks: the words of the project, of Helm and of Argo CD, for a first
// commit and for a later one.
func TestHooks(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ annotations, install, upgrade, problem string }{
		"pre and on-failure":       {"gitops.headway.sh/hook: 'pre, on-failure', gitops.headway.sh/hook-weight: '3'", "pre 3, on-failure 3", "pre 3, on-failure 3", ""},
		"unknown stage":            {"gitops.headway.sh/hook: before", "", "", `knows no "before"`},
		"weight is no number":      {"gitops.headway.sh/hook: pre, gitops.headway.sh/hook-weight: high", "", "", "must be a whole number"},
		"unknown deletion":         {"gitops.headway.sh/hook: pre, gitops.headway.sh/hook-delete: never", "", "", `knows no "never"`},
		"own words win":            {"gitops.headway.sh/hook: post, helm.sh/hook: pre-install", "post 0", "post 0", ""},
		"helm install":             {"helm.sh/hook: 'pre-install,post-install', helm.sh/hook-weight: '-2'", "pre -2, post -2", "", ""},
		"helm both":                {"helm.sh/hook: 'pre-install,pre-upgrade'", "pre 0", "pre 0", ""},
		"helm test never runs":     {"helm.sh/hook: test", "", "", ""},
		"helm rollback and delete": {"helm.sh/hook: 'pre-rollback,post-delete'", "", "", ""},
		"argo":                     {"argocd.argoproj.io/hook: 'PreSync,SyncFail', argocd.argoproj.io/sync-wave: '4'", "pre 4, on-failure 4", "pre 4, on-failure 4", ""},
		"argo sync":                {"argocd.argoproj.io/hook: Sync", "sync 0", "sync 0", ""},
		"argo skip":                {"argocd.argoproj.io/hook: Skip", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := object(t, fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: h, annotations: {%s}}}", c.annotations))
			o.Hook = true
			p := plan.Make(newBench().input(t, o))
			if len(p.Problems) > 0 || c.problem != "" {
				if c.problem == "" || len(p.Problems) != 1 || !strings.Contains(p.Problems[0].Message, c.problem) {
					t.Fatalf("problems %v, want %q", p.Problems, c.problem)
				}
				return
			}
			if n := len(p.Desired) + len(p.Stages[0].Changes); n != 0 {
				t.Errorf("the hook is part of the set")
			}
			if diff := cmp.Diff([2]string{c.install, c.upgrade}, [2]string{runs(p, plan.Install), runs(p, plan.Upgrade)}); diff != "" {
				t.Errorf("runs (-want +got):\n%s", diff)
			}
		})
	}
}

func runs(p *plan.Plan, on plan.Occasion) string {
	var out []string
	for _, r := range plan.Runs(p.Hooks, on) {
		out = append(out, fmt.Sprint(r.Stage, " ", r.Weight))
	}
	return strings.Join(out, ", ")
}

// TestHooksOfOtherOccasions: those of rollbacks run on the way back only, those
// of deletions when they are no longer in git.
func TestHooksOfOtherOccasions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ annotations, rollback, removed string }{
		"own":      {"gitops.headway.sh/hook: 'pre, pre-rollback, post-delete', gitops.headway.sh/hook-weight: '2'", "pre-rollback 2", "post 2"},
		"helm":     {"helm.sh/hook: 'post-install,post-rollback,pre-delete'", "post-rollback 0", "pre 0"},
		"argo":     {"argocd.argoproj.io/hook: 'PostSync,PostDelete'", "", "post 0"},
		"any pre":  {"gitops.headway.sh/hook: pre", "", ""},
		"mistaken": {"gitops.headway.sh/hook: 'pre-delete, x'", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := object(t, fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: h, annotations: {%s}}}", c.annotations))
			o.Hook = true
			kept := plan.Make(newBench().input(t, o))
			gone := newBench().input(t, object(t, "{apiVersion: v1, kind: Pod, metadata: {name: other}}"))
			gone.Removed = []*render.Object{o}
			if diff := cmp.Diff([2]string{c.rollback, c.removed}, [2]string{runs(kept, plan.Rollback), runs(plan.Make(gone), plan.Upgrade)}); diff != "" {
				t.Errorf("runs (-want +got):\n%s", diff)
			}
			still := newBench().input(t, o)
			still.Removed = []*render.Object{o}
			if name != "mistaken" && len(plan.Make(still).Hooks) != 1 {
				t.Error("what is in git still counts as removed")
			}
		})
	}
}

// TestCRDInstallIsNoHook: a definition that old charts call a hook stays.
func TestCRDInstallIsNoHook(t *testing.T) {
	t.Parallel()
	o := object(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: h, annotations: {helm.sh/hook: crd-install}}}")
	o.Hook = true
	if p := plan.Make(newBench().input(t, o)); len(p.Desired) != 1 || len(p.Hooks) != 0 {
		t.Errorf("desired %v, hooks %v", p.Desired, p.Hooks)
	}
}

// TestHookIsNoObject: the same object cannot be both.
func TestHookIsNoObject(t *testing.T) {
	t.Parallel()
	hook := object(t, "{apiVersion: v1, kind: Pod, metadata: {name: h, annotations: {gitops.headway.sh/hook: pre}}}")
	hook.Hook = true
	p := plan.Make(newBench().input(t, hook, object(t, "{apiVersion: v1, kind: Pod, metadata: {name: h}}")))
	if len(p.Problems) != 1 || !strings.Contains(p.Problems[0].Message, "is a hook and an object") {
		t.Errorf("problems %v", p.Problems)
	}
}
