package fault_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// killPoints are where the server dies while a commit is on its way. Reports
// come after its end.
var killPoints = []string{
	"gitsource.fetch.after", "gitsource.render.after", "gitsource.hooks.before", "gitsource.hooks.after", "gitsource.plan.after",
	"gitsource.commit.before", "store.txn.before", "store.txn.after", "gitsource.commit.after", "gitsource.status.before", "gitsource.status.after",
}

// killing is a commit during which the server dies, and the way back to where it
// began, during which it does not.
type killing struct {
	sources []v1alpha1.GitSource // beside their URLs
	first   map[string]string
	second  map[string]string // an empty file is removed
	// points are those that the commit passes beside all that every commit does.
	points []string
	// stages are what the ConfigMaps a, b and c may be, the last one in the end.
	stages []string
	// ends is the phase of the second commit in the end.
	ends v1alpha1.ReleasePhase
	// runs is how often each hook is made for the second commit.
	runs map[string]int
	// stays are the ConfigMaps that nobody may ever delete.
	stays []string
	// consent says that somebody approves what waits.
	consent bool
}

// judged are ConfigMaps that are healthy when somebody has seen their value, and
// fail when that is "bad".
func judged(name, value string, annotations ...string) string {
	out := fmt.Sprintf("---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\n  namespace: default\n  labels: {judged: \"yes\"}\n", name)
	if len(annotations) > 0 {
		out += "  annotations: {" + strings.Join(annotations, ", ") + "}\n"
	}
	return out + fmt.Sprintf("data: {key: %q}\n", value)
}

func hookOf(stage, value string) string {
	return judged(stage, value, "gitops.headway.sh/hook: "+stage)
}

func wave(n int) string { return fmt.Sprintf("gitops.headway.sh/wave: %q", strconv.Itoa(n)) }

func sourceOf(name string, paths ...string) v1alpha1.GitSource {
	seen := "has(object.metadata.annotations) && 'seen' in object.metadata.annotations && object.metadata.annotations['seen'] == object.data.key"
	asked := "has(object.metadata.labels) && 'judged' in object.metadata.labels"
	return v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.GitSourceSpec{
		Ref: v1alpha1.GitReference{Branch: "main"}, Paths: paths,
		Health: v1alpha1.HealthSpec{Checks: []v1alpha1.HealthCheck{{APIVersion: "v1", Kind: "ConfigMap",
			Healthy: fmt.Sprintf("!(%s) || (%s)", asked, seen), Failed: fmt.Sprintf("(%s) && (%s) && object.data.key == 'bad'", asked, seen)}}},
	}}
}

func with(o v1alpha1.GitSource, change func(*v1alpha1.GitSourceSpec)) v1alpha1.GitSource {
	change(&o.Spec)
	return o
}

var killings = map[string]killing{
	"waves": {
		sources: []v1alpha1.GitSource{sourceOf("main")},
		first:   map[string]string{"a.yaml": judged("a", "one"), "b.yaml": judged("b", "one", wave(5)), "c.yaml": judged("c", "old")},
		second:  map[string]string{"a.yaml": judged("a", "two"), "b.yaml": judged("b", "two", wave(5)), "c.yaml": ""},
		stages:  []string{"one one old", "two one old", "two two -"},
		ends:    v1alpha1.ReleaseHealthy,
		stays:   []string{"a", "b"},
	},
	"a wave that fails": {
		sources: []v1alpha1.GitSource{sourceOf("main")},
		first:   map[string]string{"a.yaml": judged("a", "one"), "b.yaml": judged("b", "one", wave(5)), "c.yaml": judged("c", "old")},
		second:  map[string]string{"a.yaml": judged("a", "bad"), "b.yaml": judged("b", "two", wave(5)), "c.yaml": ""},
		stages:  []string{"one one old", "bad one old", "one one old"},
		ends:    v1alpha1.ReleaseRolledBack,
		stays:   []string{"a", "b", "c"},
	},
	"hooks": {
		sources: []v1alpha1.GitSource{sourceOf("main")},
		first:   map[string]string{"a.yaml": configMap("a", "one"), "hooks.yaml": hookOf("pre", "1") + hookOf("post", "1") + hookOf("on-failure", "1")},
		second:  map[string]string{"a.yaml": configMap("a", "two")},
		points:  []string{"gitsource.hooks.before", "gitsource.hooks.after"},
		stages:  []string{"one - -", "two - -"},
		ends:    v1alpha1.ReleaseHealthy,
		runs:    map[string]int{"pre": 1, "post": 1},
	},
	"a post hook that fails": {
		sources: []v1alpha1.GitSource{sourceOf("main")},
		first:   map[string]string{"a.yaml": configMap("a", "one"), "c.yaml": configMap("c", "old"), "hooks.yaml": hookOf("pre", "1") + hookOf("on-failure", "1")},
		second:  map[string]string{"a.yaml": configMap("a", "two"), "c.yaml": "", "hooks.yaml": hookOf("pre", "1") + hookOf("post", "bad") + hookOf("on-failure", "1")},
		points:  []string{"gitsource.hooks.before", "gitsource.hooks.after"},
		stages:  []string{"one - old", "two - -", "one - old"},
		ends:    v1alpha1.ReleaseRolledBack,
		runs:    map[string]int{"pre": 1, "post": 1, "on-failure": 1},
	},
	"moves": {
		sources: []v1alpha1.GitSource{sourceOf("x", "x"), sourceOf("y", "y")},
		first:   map[string]string{"x/a.yaml": configMap("a", "one"), "y/b.yaml": configMap("b", "one"), "x/own.yaml": configMap("x", "x"), "y/own.yaml": configMap("y", "y")},
		second:  map[string]string{"y/a.yaml": configMap("a", "two"), "x/b.yaml": configMap("b", "two"), "x/a.yaml": "", "y/b.yaml": ""},
		stages:  []string{"one one -", "two one -", "one two -", "two two -"},
		ends:    v1alpha1.ReleaseHealthy,
		stays:   []string{"a", "b"},
	},
	"consent": {
		sources: []v1alpha1.GitSource{with(sourceOf("main"), func(s *v1alpha1.GitSourceSpec) { s.Approval.Required = v1alpha1.ApprovalDestructive })},
		first:   map[string]string{"a.yaml": configMap("a", "one"), "b.yaml": configMap("b", "one")},
		second:  map[string]string{"a.yaml": configMap("a", "two"), "b.yaml": ""},
		stages:  []string{"one one -", "two - -"},
		ends:    v1alpha1.ReleaseHealthy,
		consent: true,
	},
	"promotion": {
		sources: []v1alpha1.GitSource{sourceOf("main", "staging"), with(sourceOf("prod", "prod"), func(s *v1alpha1.GitSourceSpec) {
			s.Promotion = &v1alpha1.PromotionSpec{From: v1alpha1.PromotionOrigin{Source: "main"}}
		})},
		first:  map[string]string{"staging/a.yaml": judged("a", "one"), "prod/b.yaml": configMap("b", "one")},
		second: map[string]string{"staging/a.yaml": judged("a", "two"), "prod/b.yaml": configMap("b", "two")},
		stages: []string{"one one -", "two one -", "two two -"},
		ends:   v1alpha1.ReleaseHealthy,
		stays:  []string{"a", "b"},
	},
}

// TestServerDiesAnywhere ends the server as kill -9 does while waves, hooks,
// moves, ways back, consent and promotion are under way: what it leaves is one
// commit or a stage of it, each hook is made once for a commit, and nothing is
// deleted that should live. Some kills are drawn by HEADWAY_SEED; `make kills`
// makes all of them.
func TestServerDiesAnywhere(t *testing.T) {
	all := os.Getenv("HEADWAY_KILLS") == "all"
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("HEADWAY_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		check(t, err)
	}
	t.Logf("HEADWAY_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // which ones is not secret
	for _, name := range slices.Sorted(maps.Keys(killings)) {
		k := killings[name]
		points := slices.DeleteFunc(slices.Clone(killPoints), func(p string) bool {
			return strings.HasPrefix(p, "gitsource.hooks.") && !slices.Contains(k.points, p)
		})
		drawn := points[random.IntN(len(points))]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := k.start(t)
			if !all {
				if !r.dies(drawn, 1) {
					t.Errorf("%s was not passed", drawn)
				}
				return
			}
			for _, point := range points {
				n, step := 1, 1
				for ; r.dies(point, n); n += step {
					t.Logf("died at hit %d of %s", n, point)
					if strings.HasPrefix(point, "store.") && n > 3 { // every transaction of the server passes those
						step++
					}
				}
				if n == 1 {
					t.Errorf("%s was not passed", point)
				}
			}
		})
	}
}

// killed is a server that dies again and again.
type killed struct {
	*server
	killing
	t    *testing.T
	repo *repository
	made map[string]map[string]bool // UIDs of hooks' objects, by commit and name
	n    int
}

func (k killing) start(t *testing.T) *killed {
	t.Helper()
	r := &killed{killing: k, t: t, repo: newRepository(t), made: map[string]map[string]bool{}}
	first := r.push(k.first)
	r.server = controlPlane(t)
	for _, o := range k.sources {
		o.Spec.URL = r.repo.bare()
		check(t, r.client.Create(t.Context(), &o))
	}
	r.finished(first, v1alpha1.ReleaseHealthy, nil)
	return r
}

func (r *killed) push(files map[string]string) string {
	r.t.Helper()
	for name, content := range files {
		if content == "" {
			r.repo.remove(name)
		} else {
			r.repo.write(name, content)
		}
	}
	r.n++
	return r.repo.push(fmt.Sprintf("commit %d\n\nAllow-Delete: all", r.n))
}

// dies has the server die at a hit of a point on the way to the second commit,
// and then goes back to the first. It tells whether there was such a hit.
func (r *killed) dies(point string, n int) bool {
	t := r.t
	t.Helper()
	where := fmt.Sprintf("hit %d of %s", n, point)
	alive := r.uids()
	r.stop()
	second := r.push(r.second)
	r.server.start(fmt.Sprintf("HEADWAY_FAILPOINTS=%s=%d*exit", point, n))
	died := r.finished(second, r.ends, func() bool {
		select {
		case <-r.ended:
			return true
		default:
			return false
		}
	})
	r.kill()
	if died && r.cmd.ProcessState.ExitCode() != 86 {
		t.Fatalf("%s: the server ended by itself: %v", where, r.cmd.ProcessState)
	}
	args := r.args
	r.args = append(slices.Clone(args), "--disable", "gitsource")
	r.server.start()
	r.ready()
	r.sees()
	if got := r.values("a", "b", "c"); !slices.Contains(r.stages, got) {
		t.Fatalf("%s: the dead server has left %q", where, got)
	}
	r.kill()
	r.args = args
	r.server.start()
	r.ready()
	r.finished(second, r.ends, nil)
	if got, want := r.values("a", "b", "c"), r.stages[len(r.stages)-1]; got != want {
		t.Fatalf("%s: in the end the cluster has %q, want %q", where, got, want)
	}
	runs := map[string]int{}
	for name, uids := range r.made {
		if commit, name, _ := strings.Cut(name, " "); strings.HasPrefix(second, commit) {
			runs[name] = len(uids)
		}
	}
	if want := r.runs; len(want)+len(runs) > 0 && !maps.Equal(runs, want) {
		t.Fatalf("%s: hooks were made so often: %v, want %v", where, runs, want)
	}
	for _, name := range r.stays {
		if now := r.uids()[name]; now != alive[name] {
			t.Fatalf("%s: %s was deleted and made again", where, name)
		}
	}
	again := map[string]string{}
	for name := range r.second {
		again[name] = r.first[name]
	}
	r.finished(r.push(again), v1alpha1.ReleaseHealthy, nil)
	return died
}

func (r *killed) uids() map[string]string {
	out := map[string]string{}
	for _, name := range r.stays {
		if o, err := r.configMap(name); err == nil {
			out[name] = string(o.UID)
		}
	}
	return out
}

// finished plays the people and controllers until a commit has come to its end
// with every source, or stop says so; then it gives true.
func (r *killed) finished(commit string, phase v1alpha1.ReleasePhase, stop func() bool) (stopped bool) {
	r.t.Helper()
	eventually(r.t, "the end of "+commit, func() string {
		if stopped = stop != nil && stop(); stopped {
			return ""
		}
		if stop != nil && r.client == nil {
			return r.connect()
		}
		r.sees()
		for i := range r.sources {
			source := r.sources[i].Name
			if r.consent {
				r.approve(source)
			}
			if last := r.server.phase(source, commit, phase); last != "" {
				return last
			}
			var o v1alpha1.Release
			if err := r.client.Get(r.t.Context(), client.ObjectKey{Name: v1alpha1.ReleaseName(source, commit)}, &o); err != nil {
				return err.Error()
			}
			for _, h := range o.Status.Hooks {
				if h.Phase == v1alpha1.HookPending || h.Phase == v1alpha1.HookRunning {
					return fmt.Sprintf("the hook %s is %s", h.Object, h.Phase)
				}
			}
		}
		return ""
	})
	return stopped
}

// sees notes hooks that were made, and has judged ConfigMaps seen.
func (r *killed) sees() {
	var all corev1.ConfigMapList
	if r.client.List(r.t.Context(), &all, client.InNamespace("default")) != nil {
		return // it is dying
	}
	for i := range all.Items {
		o := &all.Items[i]
		if run := o.Annotations[v1alpha1.AnnotationHookRun]; run != "" {
			commit, _, _ := strings.Cut(run, "/")
			key := commit + " " + o.Name
			if r.made[key] == nil {
				r.made[key] = map[string]bool{}
			}
			r.made[key][string(o.UID)] = true
		}
		if o.Labels["judged"] != "" && o.Annotations["seen"] != o.Data["key"] {
			// Should it fail, it is tried again with the next look.
			_ = r.client.Patch(r.t.Context(), o, client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"metadata":{"annotations":{"seen":%q}}}`, o.Data["key"])))
		}
	}
}

// approve consents to what a source waits with.
func (r *killed) approve(source string) {
	o := r.source(source)
	if o.Status.Awaits == nil || len(o.Status.Approvals) > 0 {
		return
	}
	o.Status.Approvals = append(o.Status.Approvals, v1alpha1.Approval{Digest: o.Status.Awaits.Digest})
	_ = r.client.SubResource(v1alpha1.SubresourceApproval).Update(r.t.Context(), o) // as above
}
