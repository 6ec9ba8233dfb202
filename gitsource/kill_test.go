package gitsource_test

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/internal/failpoint"
)

// killPoints are where an engine is stopped, in the order of a commit.
var killPoints = []string{
	"gitsource.fetch.after", "gitsource.render.after", "gitsource.hooks.before", "gitsource.hooks.after", "gitsource.plan.after",
	"gitsource.commit.before", "gitsource.commit.after", "gitsource.status.before", "gitsource.status.after",
}

// killing is a commit whose way is interrupted.
type killing struct {
	name    string
	sources []string // by which paths are told apart; one follows everything
	first   map[string]string
	second  map[string]string // an empty file is removed
	// stages are what the cluster may look like, in this order.
	stages []string
	look   func(c *cluster) string
	// phase is that of the second commit in the end.
	phase v1alpha1.ReleasePhase
	// runs is how often each object of a hook is made for the second commit.
	runs map[string]int
	// stays are the objects that nobody may ever delete.
	stays []string

	dir, before, after string // of the repository, and its commits
}

var killings = []killing{
	{
		name:    "waves",
		sources: []string{""},
		first:   map[string]string{"db.yaml": deploymentOf("db", "1"), "web.yaml": inWave(5, configMap("a", "one")), "old.yaml": configMap("c", "old")},
		second:  map[string]string{"db.yaml": deploymentOf("db", "2"), "web.yaml": inWave(5, configMap("a", "two")) + "---\n" + inWave(6, configMap("b", "two")), "old.yaml": ""},
		stages:  []string{"db 1: one - old", "db 2: one - old", "db 2: two two -"},
		look:    dbAndValues,
		phase:   v1alpha1.ReleaseHealthy,
	},
	{
		name:    "a wave that fails",
		sources: []string{""},
		first:   map[string]string{"db.yaml": deploymentOf("db", "1"), "web.yaml": inWave(5, configMap("a", "one"))},
		second:  map[string]string{"db.yaml": deploymentOf("db", "bad"), "web.yaml": inWave(5, configMap("a", "two"))},
		stages:  []string{"db 1: one - -", "db bad: one - -", "db 1: one - -"},
		look:    dbAndValues,
		phase:   v1alpha1.ReleaseRolledBack,
	},
	{
		name:    "hooks",
		sources: []string{""},
		first:   map[string]string{"a.yaml": configMap("a", "one"), "db.yaml": deploymentOf("db", "1"), "hooks.yaml": hook("pre", "0") + hook("pre", "1") + hook("post", "0") + hook("on-failure", "0")},
		second:  map[string]string{"a.yaml": configMap("a", "two"), "db.yaml": deploymentOf("db", "2")},
		stages:  []string{"db 1: one - -", "db 2: two - -"},
		look:    dbAndValues,
		phase:   v1alpha1.ReleaseHealthy,
		runs:    map[string]int{"pre-0": 1, "pre-1": 1, "post-0": 1},
	},
	{
		name:    "a pre hook that fails",
		sources: []string{""},
		first:   map[string]string{"a.yaml": configMap("a", "one"), "hooks.yaml": hook("post", "0") + hook("on-failure", "0")},
		second:  map[string]string{"a.yaml": configMap("a", "two"), "hooks.yaml": hook("pre", "bad") + hook("post", "0") + hook("on-failure", "0")},
		stages:  []string{"one - -"},
		look:    (*cluster).values,
		phase:   v1alpha1.ReleaseQuarantined,
		runs:    map[string]int{"pre-bad": 1, "on-failure-0": 1},
	},
	{
		name:    "a post hook that fails",
		sources: []string{""},
		first:   map[string]string{"a.yaml": configMap("a", "one"), "hooks.yaml": hook("pre", "0") + hook("on-failure", "0")},
		second:  map[string]string{"a.yaml": configMap("a", "two"), "hooks.yaml": hook("pre", "0") + hook("post", "bad") + hook("on-failure", "0")},
		stages:  []string{"one - -", "two - -", "one - -"},
		look:    (*cluster).values,
		phase:   v1alpha1.ReleaseRolledBack,
		runs:    map[string]int{"pre-0": 1, "post-bad": 1, "on-failure-0": 1},
	},
	{
		name:    "a move in one commit, both ways",
		sources: []string{"x", "y"},
		first:   map[string]string{"x/a.yaml": configMap("a", "one"), "y/b.yaml": configMap("b", "one"), "x/own.yaml": configMap("x", "x"), "y/own.yaml": configMap("y", "y")},
		second:  map[string]string{"y/a.yaml": configMap("a", "two"), "x/b.yaml": configMap("b", "two"), "x/a.yaml": "", "y/b.yaml": ""},
		stages:  []string{"one one - of x y", "two one - of y y", "one two - of x x", "two two - of y x"},
		look:    (*cluster).valuesAndOwners,
		phase:   v1alpha1.ReleaseHealthy,
		stays:   []string{"a", "b"},
	},
	{
		name:    "a Job that is replaced",
		sources: []string{""},
		first:   map[string]string{"a.yaml": configMap("a", "one"), "job.yaml": job("migrate", "1")},
		second:  map[string]string{"a.yaml": configMap("a", "two"), "job.yaml": job("migrate", "2")},
		stages:  []string{"job 1: one - -", "job -: one - -", "job 2: two - -"},
		look:    jobAndValues,
		phase:   v1alpha1.ReleaseHealthy,
	},
}

// TestKilledAnywhere stops the engine at every hit of every point while a
// commit is on its way, and starts another one: what is applied is always one
// commit or a stage of it, hooks are run once for each commit, and nothing
// that moves is deleted.
func TestKilledAnywhere(t *testing.T) {
	for _, k := range killings {
		t.Run(k.name, func(t *testing.T) {
			k.prepare(t)
			hits := map[string]int64{}
			k.run(t, "", 0, func() {
				for _, point := range killPoints {
					hits[point] = failpoint.Hits(point)
				}
			})
			kills := 0
			for _, point := range killPoints {
				for n := int64(1); n <= hits[point]; n++ {
					if k.run(t, point, n, func() {}) {
						kills++
					}
				}
			}
			if kills < 2*len(k.stages) {
				t.Errorf("was killed %d times only", kills)
			}
		})
	}
}

// prepare makes the repository at its first commit, with the second one as
// another branch.
func (k *killing) prepare(t *testing.T) {
	t.Helper()
	k.dir = t.TempDir()
	c := newCluster(t, k.dir)
	k.write(c, k.first)
	k.before = c.push("first")
	c.git(c.work(), "checkout", "-q", "-b", "next")
	k.write(c, k.second)
	k.after = c.push("second")
}

// run kills at the nth hit of a point, or nowhere, and has it look before the
// points are switched off. It tells whether there was such a hit.
func (k *killing) run(t *testing.T, point string, n int64, look func()) (killed bool) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(k.dir)); err != nil {
		t.Fatal(err)
	}
	c := bareCluster(t, dir)
	defer func() { c.stop() }()
	for _, name := range k.sources {
		c.follow("main"+name, func(o *v1alpha1.GitSource) {
			if name != "" {
				o.Spec.Paths = []string{name}
			}
		})
	}
	seen := &seen{made: map[string]int{}, deleted: map[string]int{}}
	c.run()
	k.finished(c, k.before, v1alpha1.ReleaseHealthy, nil)
	defer c.store.Observe(seen.write)()

	clear := k.set(t, point, n)
	defer clear()
	c.git(c.bare(), "update-ref", "refs/heads/main", k.after)
	killed = k.finished(c, k.after, k.phase, func() bool { return failpoint.Hits(point) >= n && point != "" })
	look()
	c.stop()
	clear()
	where := fmt.Sprintf("killed at hit %d of %s", n, point)
	if got := k.look(c); !slices.Contains(k.stages, got) {
		t.Fatalf("%s, the cluster is at none of its stages: %s", where, got)
	}
	c.run()
	k.finished(c, k.after, k.phase, nil)
	c.stop()
	if got, want := k.look(c), k.stages[len(k.stages)-1]; got != want {
		t.Fatalf("%s, the cluster ends as %s, want %s", where, got, want)
	}
	if got := seen.runsOf(k.after); !maps.Equal(got, k.runs) {
		t.Fatalf("%s, hooks were made so often: %v, want %v", where, got, k.runs)
	}
	for _, name := range k.stays {
		if seen.deleted[name] > 0 {
			t.Fatalf("%s, %s was deleted", where, name)
		}
	}
	return killed
}

// set switches a point on, or has the hits of all of them counted.
func (k *killing) set(t *testing.T, point string, n int64) (clear func()) {
	t.Helper()
	points := []string{point}
	if point == "" {
		points, n = killPoints, math.MaxInt64
	}
	var clears []func()
	for _, point := range points {
		clear, err := failpoint.Set(point, fmt.Sprintf("%d*pause", n))
		if err != nil {
			t.Fatal(err)
		}
		clears = append(clears, clear)
	}
	return func() {
		for _, clear := range clears {
			clear()
		}
	}
}

func (k *killing) write(c *cluster, files map[string]string) {
	for name, content := range files {
		if content != "" {
			c.write(name, content)
		} else if err := os.Remove(filepath.Join(c.work(), name)); err != nil {
			c.t.Fatal(err)
		}
	}
}

// finished plays the controllers until a commit has come to its end with every
// source, or stop says so; then it gives true.
func (k *killing) finished(c *cluster, commit string, phase v1alpha1.ReleasePhase, stop func() bool) (stopped bool) {
	c.t.Helper()
	c.eventually("the end of "+commit, func() string {
		if stopped = stop != nil && stop(); stopped {
			return ""
		}
		c.playControllers()
		for _, name := range k.sources {
			if last := c.phaseIs("main"+name, commit, phase); last != "" {
				return last
			}
			for _, r := range c.release("main"+name, commit).Status.Hooks {
				if r.Phase == v1alpha1.HookPending || r.Phase == v1alpha1.HookRunning {
					return fmt.Sprintf("the hook %s is %s", r.Object, r.Phase)
				}
			}
		}
		return ""
	})
	return stopped
}

// seen is what was written, by the names of objects.
type seen struct {
	mu      sync.Mutex     // guards all below
	made    map[string]int // hooks' objects, by their runs too
	deleted map[string]int
}

func (s *seen) write(w txn.Write) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case w.After == nil && w.Before != nil:
		s.deleted[w.Ref.Name]++
	case w.Before == nil && w.After != nil && w.After.GetAnnotations()[v1alpha1.AnnotationHookRun] != "":
		s.made[w.After.GetAnnotations()[v1alpha1.AnnotationHookRun]+" "+w.Ref.Name]++
	}
}

func (s *seen) runsOf(commit string) map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out map[string]int
	for run, n := range s.made {
		if strings.HasPrefix(run, commit[:12]+"/") {
			if out == nil {
				out = map[string]int{}
			}
			out[run[strings.LastIndex(run, " ")+1:]] += n
		}
	}
	return out
}

// playControllers makes of each object what its controller would: what is
// called bad fails, everything else succeeds.
func (c *cluster) playControllers() {
	v, err := c.store.View(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	controller := txn.Identity{Name: "system:serviceaccount:kube-system:controller"}
	status := func(o txn.Object, resource, status string) {
		_, err := c.store.Do(c.t.Context(), controller, txn.Change{
			Verb: txn.Patch, Ref: ref(resource, o.GetNamespace()+"/"+o.GetName()), Subresource: "status", FieldManager: "controller",
			Patch: []byte(`{"status":` + status + `}`), PatchType: types.MergePatchType,
		})
		if err != nil && !txn.IsConflict(err) && c.get(ref(resource, o.GetNamespace()+"/"+o.GetName())) != nil {
			c.t.Error(err)
		}
	}
	for o := range v.Each(ref("deployments.apps", "x").Resource, "") {
		d := o.(*appsv1.Deployment)
		switch {
		case d.Status.ObservedGeneration == d.Generation:
		case d.Spec.Template.Spec.Containers[0].Image == "bad":
			status(d, "deployments.apps", fmt.Sprintf(`{"observedGeneration":%d,"conditions":[{"type":"Progressing","status":"False","reason":"ProgressDeadlineExceeded","message":"no"}]}`, d.Generation))
		default:
			status(d, "deployments.apps", fmt.Sprintf(`{"observedGeneration":%d,"replicas":1,"updatedReplicas":1,"readyReplicas":1,"availableReplicas":1,"conditions":[{"type":"Available","status":"True"}]}`, d.Generation))
		}
	}
	for o := range v.Each(ref("pods", "x").Resource, "") {
		p := o.(*corev1.Pod)
		switch {
		case p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed:
		case strings.HasSuffix(p.Name, "bad"):
			status(p, "pods", `{"phase":"Failed"}`)
		default:
			status(p, "pods", `{"phase":"Succeeded"}`)
		}
	}
	for o := range v.Each(ref("jobs.batch", "x").Resource, "") {
		if j := o.(*batchv1.Job); len(j.Status.Conditions) == 0 {
			status(j, "jobs.batch", `{"startTime":"2026-03-01T12:00:00Z","completionTime":"2026-03-01T12:00:10Z","succeeded":1,"conditions":[{"type":"SuccessCriteriaMet","status":"True"},{"type":"Complete","status":"True"}]}`)
		}
	}
}

func dbAndValues(c *cluster) string {
	d := c.get(ref("deployments.apps", "default/db")).(*appsv1.Deployment)
	return "db " + d.Spec.Template.Spec.Containers[0].Image + ": " + c.values()
}

func jobAndValues(c *cluster) string {
	image := "-"
	if j, ok := c.get(ref("jobs.batch", "default/migrate")).(*batchv1.Job); ok {
		image = j.Spec.Template.Spec.Containers[0].Image
	}
	return "job " + image + ": " + c.values()
}

// valuesAndOwners tells whose inventories a and b are in, too.
func (c *cluster) valuesAndOwners() string {
	notes, err := c.store.Notes(c.t.Context(), plan.Prefix)
	if err != nil {
		c.t.Fatal(err)
	}
	all, err := plan.Load(notes)
	if err != nil {
		c.t.Fatal(err)
	}
	out := c.values() + " of"
	for _, name := range []string{"a", "b"} {
		var owners []string
		for _, source := range slices.Sorted(maps.Keys(all)) {
			if _, ok := all[source].Entries[ref("configmaps", "default/"+name)]; ok {
				owners = append(owners, strings.TrimPrefix(source, "main"))
			}
		}
		out += " " + strings.Join(owners, "+")
	}
	return out
}

func inWave(n int, yaml string) string {
	return strings.Replace(yaml, "metadata:\n", fmt.Sprintf("metadata:\n  annotations: {gitops.headway.sh/wave: \"%d\"}\n", n), 1)
}

func deploymentOf(name, image string) string {
	return fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %[1]s}\nspec:\n  replicas: 1\n  selector: {matchLabels: {app: %[1]s}}\n"+
		"  template:\n    metadata: {labels: {app: %[1]s}}\n    spec: {containers: [{name: c, image: %[2]q}]}\n", name, image)
}

func job(name, image string) string {
	return fmt.Sprintf("apiVersion: batch/v1\nkind: Job\nmetadata: {name: %s}\nspec:\n  template:\n    spec: {restartPolicy: Never, containers: [{name: c, image: %q}]}\n", name, image)
}

// hook is a pod of a stage, of weight 0 or 1.
func hook(stage, name string) string {
	weight := "0"
	if name == "1" {
		weight = "1"
	}
	return fmt.Sprintf("---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: %s-%s\n  annotations: {gitops.headway.sh/hook: %s, gitops.headway.sh/hook-weight: %q}\n"+
		"spec: {restartPolicy: Never, containers: [{name: c, image: i}]}\n", stage, name, stage, weight)
}
