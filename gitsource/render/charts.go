package render

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	chart "helm.sh/helm/v4/pkg/chart/v2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/render/helm"
	"github.com/headway-sh/headway/gitsource/repo"
)

const chartFile = "Chart.yaml"

// The annotations of Helm's hooks and of Argo CD's.
const (
	helmHook = "helm.sh/hook"
	argoHook = "argocd.argoproj.io/hook"
)

// Charts says how charts are rendered.
type Charts struct {
	// Release is the release's name; empty: the chart's directory's.
	Release string
	// Namespace is the release's namespace.
	Namespace string
	// NamespaceOf is that of charts whose files belong to an owner; it may be
	// nil.
	NamespaceOf func(owner string) string
	// ValuesFiles are laid over the chart's values, the last one on top; their
	// paths begin at the chart, or with a slash at the repository's root.
	ValuesFiles []string
	// Values are laid over those.
	Values map[string]any
	// Mirror is a directory of the repository with charts and archives, in
	// which dependencies are looked for that a chart does not carry itself.
	Mirror string
	// Repositories are those outside of the repository, as the spec has them.
	Repositories []v1alpha1.ChartRepository
	// Fetch gives the archive of a version of a chart from them; nil: none is
	// asked.
	Fetch func(ctx context.Context, name, version string) ([]byte, error)
	// Cluster tells what charts see of the cluster; it is asked once a render,
	// and not at all when there is no chart. Nil: an empty cluster.
	Cluster func() (*Cluster, error)
}

// Cluster is what charts see of the cluster.
type Cluster struct {
	KubeVersion string
	// APIVersions are as "apps/v1" and "apps/v1/Deployment".
	APIVersions []string
	Lookup      helm.Lookup
	// LookupAs is Lookup for charts whose files belong to an owner; nil: the
	// same.
	LookupAs func(owner string) helm.Lookup
}

// chartBuild is one rendering of one chart.
type chartBuild struct {
	*run
	at    string // the chart's directory or archive
	looks *looks
	size  int // of the dependencies that do not lie in the chart
	*built
}

// chart renders the chart in a directory or an archive, or gives what it gave
// before, when nothing has changed of what it depends on.
func (u *run) chart(at string, e repo.Entry) (*result, error) {
	if u.cluster == nil {
		u.cluster = &Cluster{}
		if u.cfg.Charts.Cluster != nil {
			cluster, err := u.cfg.Charts.Cluster()
			if err != nil {
				return nil, err
			}
			u.cluster = cluster
		}
	}
	if b, ok := u.last.built[at]; ok && u.unchanged(b) && !b.live && (!b.dated || u.time.Equal(b.time)) && u.cluster.same(b.cluster) {
		u.now.built[at] = b
		return &b.result, nil
	}
	l := &looks{run: u, seen: map[string]string{}}
	b := chartBuild{run: u, at: at, looks: l, built: &built{looked: l.seen, time: u.time, cluster: u.cluster}}
	u.now.built[at] = b.built
	err := b.build(e)
	if u.ctx.Err() != nil {
		delete(u.now.built, at)
		return nil, u.ctx.Err()
	}
	if err != nil && !errors.Is(err, errNoted) {
		b.fail(err)
	}
	return &b.built.result, nil
}

// errNoted ends a build whose problems are noted already.
var errNoted = errors.New("noted")

// note takes over what is known of a file that a chart is made from.
func (b *chartBuild) note(r *result) {
	b.built.problems = append(b.built.problems, r.problems...)
	b.built.secrets = append(b.built.secrets, r.secrets...)
	b.built.keyless = b.built.keyless || r.keyless
	b.built.sealed = append(b.built.sealed, r.sealed...)
	b.built.lent = b.built.lent || r.lent
}

func (c *Cluster) same(o *Cluster) bool {
	return o != nil && c.KubeVersion == o.KubeVersion && strings.Join(c.APIVersions, " ") == strings.Join(o.APIVersions, " ")
}

// fail notes what is wrong, at its place in the chart.
func (b *chartBuild) fail(err error) {
	var e *helm.Error
	p := v1alpha1.Problem{File: b.at, Message: "helm: " + err.Error()}
	if errors.As(err, &e) {
		p.Message = "helm: " + e.Message
		if e.Path != "" {
			p.File, p.Line = path.Join(b.at, e.Path), int32(e.Line)
		}
	}
	b.built.problems = append(b.built.problems, p)
}

func (b *chartBuild) build(e repo.Entry) error {
	c, err := b.load(b.at, e)
	if err != nil {
		return err
	}
	for _, want := range helm.Missing(c) {
		if err := b.supply(c, want); err != nil {
			return err
		}
	}
	values, err := b.values()
	if err != nil {
		return err
	}
	spec := &b.cfg.Charts
	o := helm.Options{
		Release: spec.Release, Namespace: spec.Namespace, Values: values, Time: b.run.time, Key: b.cfg.Key,
		KubeVersion: b.run.cluster.KubeVersion, APIVersions: b.run.cluster.APIVersions, Lookup: b.run.cluster.Lookup,
	}
	b.built.owners = b.looks.owners
	if err := b.looks.owners.check(b.built.lent); err != nil {
		return err
	}
	if who := b.looks.owners.one(); who != "" {
		if spec.NamespaceOf != nil {
			o.Namespace = spec.NamespaceOf(who)
		}
		if b.run.cluster.LookupAs != nil {
			o.Lookup = b.run.cluster.LookupAs(who)
		}
	}
	if o.Release == "" {
		if o.Release = path.Base(b.at); b.at == "." || e.Mode == repo.File {
			o.Release = c.Name()
		}
	}
	r, err := helm.Render(b.ctx, c, o)
	if r != nil {
		b.live, b.dated = r.Live, r.Dated
	}
	if err != nil {
		return err
	}
	for _, out := range r.Outputs {
		b.take(out)
	}
	return nil
}

// load reads the chart in a directory or an archive.
func (b *chartBuild) load(at string, e repo.Entry) (*chart.Chart, error) {
	if e.Mode == repo.File {
		content, err := b.looks.file(at)
		if err != nil {
			return nil, err
		}
		return helm.LoadArchive(content)
	}
	files, err := b.looks.below(at, e.ID)
	if err != nil {
		return nil, err
	}
	for i, f := range files {
		content, r := b.plain(path.Join(at, f.Name), f.Data, false)
		if b.note(r); len(r.problems) > 0 {
			return nil, errNoted
		}
		files[i].Data = content
	}
	return helm.Load(files)
}

// values are those of the source, over which the chart lays its own.
func (b *chartBuild) values() (map[string]any, error) {
	dir := b.at
	if path.Ext(dir) == ".tgz" {
		dir = path.Dir(dir)
	}
	out := map[string]any{}
	for _, name := range b.cfg.Charts.ValuesFiles {
		file := path.Join(dir, name)
		if strings.HasPrefix(name, "/") {
			file = inside(name)
		}
		content, err := b.looks.file(file)
		if err != nil {
			return nil, fmt.Errorf("the values file %w", err)
		}
		content, r := b.plain(file, content, true)
		if b.note(r); len(r.problems) > 0 {
			return nil, errNoted
		}
		values, err := helm.Values(content)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = helm.Over(out, values)
		b.chain = append(b.chain, file)
	}
	return helm.Over(out, b.cfg.Charts.Values), nil
}

// take reads the objects of one rendered template.
func (b *chartBuild) take(out helm.Output) {
	file := path.Join(b.at, out.Path)
	r := parse(file, []byte(out.Text))
	for i := range r.problems {
		r.problems[i].Line = sourceLine(out, r.problems[i].Line)
		if out.Source != "" {
			r.problems[i].Message = "as rendered: " + r.problems[i].Message
		}
	}
	b.built.problems = append(b.built.problems, r.problems...)
	for _, o := range r.objects {
		if hook := o.Body.GetAnnotations()[helmHook]; hook != "" && strings.HasPrefix(strings.TrimSpace(hook), "test") {
			continue // run on demand, and never by an installation
		}
		o.Line, o.written = sourceLine(out, o.Line), out.Source == "" && path.Ext(b.at) != ".tgz"
		o.Owners = b.built.owners
		o.Chain = append([]string{path.Join(b.at, chartFile)}, b.chain...)
		b.built.objects = append(b.built.objects, b.finish(o))
	}
}

// hooked tells whether annotations make an object a hook.
func hooked(body *unstructured.Unstructured) bool {
	annotations, _, _ := unstructured.NestedFieldNoCopy(body.Object, "metadata", "annotations")
	m, _ := annotations.(map[string]any)
	for _, key := range []string{v1alpha1.AnnotationHook, helmHook, argoHook} {
		if text, _ := m[key].(string); text != "" {
			return true
		}
	}
	return false
}

// finish gives an object the form that is compared and applied.
func (u *run) finish(o *Object) *Object {
	o.Body = storable(o.Body)
	o.Hook = hooked(o.Body)
	o.Digest = digest(u.cfg.Key, o.Body)
	return o
}

// sourceLine finds the line of a template that a rendered line comes from: the
// same text, as often as it came before.
func sourceLine(out helm.Output, line int32) int32 {
	if out.Source == "" || line < 1 {
		return line
	}
	rendered := strings.Split(out.Text, "\n")
	if int(line) > len(rendered) {
		return 1
	}
	for at := int(line) - 1; at >= 0; at-- {
		text := strings.TrimSpace(rendered[at])
		if text == "" || text == "---" {
			continue
		}
		nth := 0
		for _, before := range rendered[:at+1] {
			if strings.TrimSpace(before) == text {
				nth++
			}
		}
		last := 0
		for i, s := range strings.Split(out.Source, "\n") {
			if strings.TrimSpace(s) == text && nth > 0 {
				last = i + 1
				nth--
			}
		}
		if last > 0 {
			return int32(last)
		}
	}
	return 1
}
