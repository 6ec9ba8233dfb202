package main

import (
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

const (
	migration = `apiVersion: batch/v1
kind: Job
metadata: {name: migrate, namespace: default, annotations: {helm.sh/hook: "pre-install,pre-upgrade"}}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: "db:1"}]}}}
`
	load = `apiVersion: batch/v1
kind: Job
metadata: {name: load, namespace: default}
spec: {template: {metadata: {labels: {version: one}}, spec: {restartPolicy: Never, containers: [{name: c, image: "db:1"}]}}}
`
	web = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default, annotations: {gitops.headway.sh/wave: "1", gitops.headway.sh/replace: allowed}}
spec:
  selector: {matchLabels: {app: one}}
  template: {metadata: {labels: {app: one}}, spec: {containers: [{name: c, image: "web:1"}]}}
`
	movable = `apiVersion: v1
kind: ConfigMap
metadata: {name: movable, namespace: default}
data: {key: one, only: main}
`
)

// TestOrderOnTheAPIServer: hooks, waves, replacements and moves do with the API
// server, its validation and the garbage collector what they do with the
// emulator.
func TestOrderOnTheAPIServer(t *testing.T) {
	t.Parallel()
	c, ctx := rooms(t, "garbagecollector"), t.Context()
	git := cloneOf(t, map[string]string{
		"main/migrate.yaml": migration, "main/load.yaml": load, "main/web.yaml": web, "main/movable.yaml": movable,
		"other/own.yaml": strings.ReplaceAll(movable, "movable", "own"),
	})
	releases, err := c.Watch(ctx, &v1alpha1.ReleaseList{})
	ok(t, err)
	defer releases.Stop()
	for _, name := range []string{"main", "other"} {
		ok(t, c.Create(ctx, &v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.GitSourceSpec{
			URL: git.dir, Ref: v1alpha1.GitReference{Branch: "main"}, Paths: []string{name}, Reports: v1alpha1.ReportsSpec{Disabled: true},
		}}))
	}
	// reached waits until a source's release of the newest commit is as f wants.
	reached := func(source string, f func(*v1alpha1.ReleaseStatus) bool) {
		t.Helper()
		name := v1alpha1.ReleaseName(source, git.run("rev-parse", "HEAD"))
		until(t, releases, func(e watch.Event) bool {
			r := e.Object.(*v1alpha1.Release)
			return r.Name == name && f(&r.Status)
		})
	}
	running := func(st *v1alpha1.ReleaseStatus) bool {
		return len(st.Hooks) == 1 && st.Hooks[0].Phase == v1alpha1.HookRunning
	}
	waits := func(st *v1alpha1.ReleaseStatus) bool {
		return strings.HasSuffix(st.Message, "waits for jobs.batch default/load")
	}
	key := func(name string) client.ObjectKey { return client.ObjectKey{Namespace: "default", Name: name} }
	complete := func(name string) types.UID {
		t.Helper()
		job := &batchv1.Job{}
		ok(t, c.Get(ctx, key(name), job))
		now := metav1.Now()
		job.Status.StartTime, job.Status.CompletionTime, job.Status.Succeeded = &now, &now, 1
		job.Status.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
		for _, condition := range []batchv1.JobConditionType{batchv1.JobSuccessCriteriaMet, batchv1.JobComplete} {
			job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{Type: condition, Status: corev1.ConditionTrue, LastTransitionTime: now})
		}
		ok(t, c.Status().Update(ctx, job))
		return job.UID
	}

	reached("main", running)
	firstHook := complete("migrate")
	reached("main", waits)
	firstLoad := complete("load")
	reached("main", func(st *v1alpha1.ReleaseStatus) bool { return st.Phase == v1alpha1.ReleaseProgressing })
	var before corev1.ConfigMap
	ok(t, c.Get(ctx, key("movable"), &before))

	git.write("main/load.yaml", strings.ReplaceAll(load, "one", "two"))
	git.write("main/web.yaml", strings.ReplaceAll(web, "one", "two"))
	git.write("other/movable.yaml", strings.ReplaceAll(movable, ", only: main", ""))
	git.remove("main/movable.yaml")
	git.commit("replace and move")
	reached("main", running)
	if uid := complete("migrate"); uid == firstHook {
		t.Error("the hook was not made anew")
	}
	reached("main", waits)
	if uid := complete("load"); uid == firstLoad {
		t.Error("the Job was not replaced")
	}
	reached("main", func(st *v1alpha1.ReleaseStatus) bool {
		replaced := 0
		for _, o := range st.Outcomes {
			if o.Operation == "replaced" {
				replaced++
			}
		}
		return st.Phase == v1alpha1.ReleaseProgressing && replaced > 0
	})
	reached("other", func(st *v1alpha1.ReleaseStatus) bool { return st.Phase == v1alpha1.ReleaseHealthy })
	var after corev1.ConfigMap
	ok(t, c.Get(ctx, key("movable"), &after))
	managers := map[string]bool{}
	for _, f := range after.ManagedFields {
		managers[f.Manager] = true
	}
	if after.UID != before.UID || len(after.Data) != 1 || len(managers) != 1 || !managers["headway:other"] {
		t.Errorf("moved to %v with the fields of %v, from UID %s", after, managers, before.UID)
	}
}
