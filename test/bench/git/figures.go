package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/test/bench/figure"
	"github.com/headway-sh/headway/test/bench/rig"
)

// largest is the number of apps, of four objects each, in the largest
// repository.
const largest = 1000

// push times a push of one changed line until a watch shows it, in
// repositories of three sizes.
func (b *bench) push(ctx context.Context) error {
	for _, one := range []struct {
		apps           int
		reference, aim string
	}{
		{30, "Flux 1.9 by webhook: 0.6 s", "≤ 60 ms p50, ≤ 200 ms p99"},
		{250, "Flux 1.9: 4.2 s", "≤ 80 ms p50"},
		{largest, "", "≤ 80 ms p50"},
	} {
		if err := b.pushInto(ctx, one.apps, one.reference, one.aim); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) pushInto(ctx context.Context, apps int, reference, aim string) (err error) {
	c, err := b.filled(ctx, fmt.Sprintf("push-%d", apps), apps, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.server.End()) }()
	app := apps / 2
	w, err := c.watchMap(ctx, app)
	if err != nil {
		return err
	}
	defer w.Stop()
	done := c.profile(ctx, b.pushes/3)
	var live, whole []time.Duration
	before, err := c.server.CPUTime()
	if err != nil {
		return err
	}
	for i := range b.pushes {
		value := fmt.Sprint("pushed ", i)
		began, returned, err := c.repo.Push(ctx, map[string]string{fileOf(app): settings(app, value)})
		if err != nil {
			return err
		}
		at, err := w.Await(ctx, "the pushed line", hasValue(value))
		if err != nil {
			return err
		}
		live, whole = append(live, max(0, at.Sub(returned))), append(whole, at.Sub(began))
		if err := c.server.Settled(ctx); err != nil {
			return err
		}
	}
	after, err := c.server.CPUTime()
	if err != nil {
		return err
	}
	done()
	b.report.Times(fmt.Sprintf("push of one changed line → live, %d objects", 4*apps), live, reference, aim)
	b.report.Times("  from the start of git push", whole, "", "")
	b.report.Mean("  CPU time of the server for each, report included", figure.Milliseconds((after-before)/time.Duration(b.pushes)), b.pushes, "", "")
	return nil
}

// first times a source's first sync from its creation.
func (b *bench) first(ctx context.Context) error {
	for _, one := range []struct {
		name, title    string
		files          map[string]string
		reference, aim string
	}{
		{"maps", "first sync of 1,000 ConfigMaps", configMapFiles(1000), "Flux 1.9: 7–8 s", "≤ 1 s"},
		{"apps", "first sync of 1,000 apps of 4 objects", appFiles(largest), "4 min on 16 cores published", "≤ 5 s"},
	} {
		if err := b.firstOf(ctx, one.name, one.title, one.files, one.reference, one.aim); err != nil {
			return err
		}
	}
	return nil
}

// firsts is how often a first sync is measured.
const firsts = 3

func (b *bench) firstOf(ctx context.Context, name, title string, files map[string]string, reference, aim string) error {
	var applied, healthy, used []time.Duration
	for i := range firsts {
		a, h, u, err := b.firstOnce(ctx, fmt.Sprintf("first-%s-%d", name, i), files)
		if err != nil {
			return err
		}
		applied, healthy, used = append(applied, a), append(healthy, h), append(used, u)
	}
	b.report.Times(title+", all written", applied, reference, aim)
	b.report.Times("  all healthy", healthy, "", "")
	b.report.Times("  CPU time of the server until then", used, "", "")
	return nil
}

func (b *bench) firstOnce(ctx context.Context, name string, files map[string]string) (applied, healthy, used time.Duration, err error) {
	c, err := b.start(ctx, name)
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { err = errors.Join(err, c.server.End()) }()
	if _, _, err := c.repo.Push(ctx, files); err != nil {
		return 0, 0, 0, err
	}
	if err := c.server.Settled(ctx); err != nil {
		return 0, 0, 0, err
	}
	w, err := rig.Watch(ctx, c.client, &v1alpha1.ReleaseList{})
	if err != nil {
		return 0, 0, 0, err
	}
	defer w.Stop()
	before, err := c.server.CPUTime()
	if err != nil {
		return 0, 0, 0, err
	}
	done := c.profile(ctx, 5)
	began := time.Now()
	if err := c.follow(ctx, nil); err != nil {
		return 0, 0, 0, err
	}
	var at time.Time
	end, err := w.Await(ctx, "the first sync", func(o client.Object) bool {
		if at.IsZero() && inPhase(v1alpha1.ReleaseProgressing, v1alpha1.ReleaseHealthy)(o) {
			at = time.Now()
		}
		return inPhase(v1alpha1.ReleaseHealthy)(o)
	})
	if err != nil {
		return 0, 0, 0, err
	}
	after, err := c.server.CPUTime()
	done()
	return at.Sub(began), end.Sub(began), after - before, err
}

// plan times a pull request that touches ten objects of the largest
// repository, from the return of git push until its Plan is there.
func (b *bench) plan(ctx context.Context) (err error) {
	c, err := b.filled(ctx, "plan", largest, func(s *v1alpha1.GitSourceSpec) { s.Previews.Refs = []string{"refs/pull/*/head"} })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.server.End()) }()
	w, err := rig.Watch(ctx, c.client, &v1alpha1.PlanList{})
	if err != nil {
		return err
	}
	defer w.Stop()
	const requests, touched = 20, 10
	var planned []time.Duration
	for i := range requests {
		files := map[string]string{}
		for k := range touched {
			files[fileOf(i*touched+k)] = settings(i*touched+k, fmt.Sprint("planned ", i))
		}
		ref := fmt.Sprintf("refs/pull/%d/head", i+1)
		_, returned, err := c.repo.PushTo(ctx, ref, files)
		if err != nil {
			return err
		}
		want := int32(touched * (i + 1)) // each request stands on the one before
		at, err := w.Await(ctx, "the plan of "+ref, func(o client.Object) bool {
			p := o.(*v1alpha1.Plan)
			return p.Spec.Ref.Name == ref && p.Status.Digest != "" && p.Status.Summary.Changed == want
		})
		if err != nil {
			return err
		}
		planned = append(planned, max(0, at.Sub(returned)))
		if err := c.server.Settled(ctx); err != nil {
			return err
		}
	}
	b.report.Times(fmt.Sprintf("plan of a pull request, 10 and more of %d objects", 4*largest), planned, "", "≤ 300 ms")
	return nil
}

// drift times from the answer to a foreign write until a watch shows what git
// says again, in the largest repository.
func (b *bench) drift(ctx context.Context) (err error) {
	c, err := b.filled(ctx, "drift", largest, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.server.End()) }()
	var corrected []time.Duration
	for i := range b.drifts {
		took, err := c.driftOnce(ctx, i)
		if err != nil {
			return err
		}
		corrected = append(corrected, took)
	}
	b.report.Times(fmt.Sprintf("drift → corrected, %d objects", 4*largest), corrected, "Flux at 10 s: 5 s", "≤ 20 ms p50, ≤ 100 ms p99")
	return nil
}

// driftOnce edits the ConfigMap of an app of its own each time: what is edited
// again and again counts as a fight.
func (c *cluster) driftOnce(ctx context.Context, app int) (time.Duration, error) {
	w, err := c.watchMap(ctx, app)
	if err != nil {
		return 0, err
	}
	defer w.Stop()
	object := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"namespace": teamOf(app), "name": appName(app)}}}
	if err := c.client.Patch(ctx, object, client.RawPatch(types.MergePatchType, []byte(`{"data":{"value":"edited"}}`))); err != nil {
		return 0, err
	}
	answered := time.Now()
	if _, err := w.Await(ctx, "the drift", hasValue("edited")); err != nil {
		return 0, err
	}
	at, err := w.Await(ctx, "the correction", hasValue("0"))
	if err != nil {
		return 0, err
	}
	return max(0, at.Sub(answered)), c.server.Settled(ctx)
}

// memory compares a server that follows the largest repository with one that
// has the same objects from its API, and watches the first while nothing
// happens.
func (b *bench) memory(ctx context.Context) error {
	with, err := b.withGit(ctx)
	if err != nil {
		return err
	}
	without, err := b.withoutGit(ctx)
	if err != nil {
		return err
	}
	b.report.Value(fmt.Sprintf("memory above a server without git, %d objects", 4*largest), figure.Megabytes(with-without), "Flux: 200 MB at 1,000", "≤ 40 MB")
	b.report.Value("  anonymous, of the server with it", figure.Megabytes(with), "", "")
	return nil
}

// calm is how long a server has to get over a burst before it counts as idle.
const calm = 70 * time.Second

func (b *bench) withGit(ctx context.Context) (_ int64, err error) {
	c, err := b.filled(ctx, "memory-git", largest, nil)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.server.End()) }()
	return c.idle(ctx, fmt.Sprintf("idle CPU in %v of one core, server with git", b.idle), "Flux: 3.5–11 % and as much in the API", "0 above a server without")
}

func (b *bench) withoutGit(ctx context.Context) (_ int64, err error) {
	c, err := b.start(ctx, "memory-api", "--disable", "scheduler,agent,gitsource")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.server.End()) }()
	files := appFiles(largest)
	for _, name := range slices.SortedFunc(maps.Keys(files), namespacesFirst) {
		if err := c.create(ctx, files[name]); err != nil {
			return 0, err
		}
	}
	return c.idle(ctx, "  and without it", "", "")
}

// idle reports what a server uses while nothing happens, and gives its
// anonymous memory in kilobytes.
func (c *cluster) idle(ctx context.Context, name, reference, aim string) (int64, error) {
	if err := wait(ctx, calm); err != nil {
		return 0, err
	}
	before, err := c.server.CPUTime()
	if err != nil {
		return 0, err
	}
	if err := wait(ctx, c.bench.idle); err != nil {
		return 0, err
	}
	after, err := c.server.CPUTime()
	if err != nil {
		return 0, err
	}
	c.bench.report.Value(name, fmt.Sprintf("%.2f %%", 100*float64(after-before)/float64(c.bench.idle)), reference, aim)
	_, anonymous, err := figure.Memory(c.server.Cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	return anonymous, c.heap(ctx)
}

func namespacesFirst(a, b string) int {
	later := func(name string) int { return strings.Count(name, "/") } // below their team's directory
	return cmp.Or(cmp.Compare(later(a), later(b)), cmp.Compare(a, b))
}

// create applies the objects of a file as kubectl would.
func (c *cluster) create(ctx context.Context, text string) error {
	for _, doc := range strings.Split(text, "\n---\n") {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil {
			return err
		}
		if err := c.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("bench"), client.ForceOwnership); err != nil {
			return fmt.Errorf("apply %s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	return nil
}
