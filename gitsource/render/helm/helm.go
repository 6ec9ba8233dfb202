package helm

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
)

// The limits of one chart.
const (
	MaxTime   = 20 * time.Second
	MaxOutput = 16 << 20 // bytes of all rendered templates
)

// File is a file of a chart, by its path from the chart's directory.
type File struct {
	Name string
	Data []byte
}

// Lookup reads an object, or with an empty name the list of all of them in a
// namespace; what does not exist is an empty map.
type Lookup func(apiVersion, kind, namespace, name string) (map[string]any, error)

// Options are what a render depends on beside the chart.
type Options struct {
	// Release and Namespace are what templates see as such.
	Release, Namespace string
	// Values are laid over the chart's own.
	Values map[string]any
	// Time is what templates see as now.
	Time time.Time
	// Key makes random strings that nobody can guess; see the package's note.
	Key []byte
	// KubeVersion and APIVersions are what templates see of the cluster. Empty:
	// what Helm itself takes for granted.
	KubeVersion string
	APIVersions []string
	// Lookup may be nil: then nothing exists.
	Lookup Lookup
}

// Output is one rendered template or one file of a crds directory.
type Output struct {
	// Path of the template from the chart's directory.
	Path string
	Text string
	// Source is the template's own text; empty for files of a crds directory.
	Source string
}

// Result is what a chart became, in the order of its templates' paths.
type Result struct {
	Outputs []Output
	// Live says that the cluster was asked: another time it may say otherwise.
	Live bool
	// Dated says that the time was asked for.
	Dated bool
}

// Error is what is wrong with a chart, and where.
type Error struct {
	// Path of the file from the chart's directory; empty for the chart as such.
	Path    string
	Line    int
	Message string
}

func (e *Error) Error() string {
	if e.Path == "" {
		return e.Message
	}
	return fmt.Sprintf("%s:%d: %s", e.Path, e.Line, e.Message)
}

// Render renders a chart. Errors about the chart are of the type *Error; what
// they depend on is told by the result even so, when there is one. The chart is
// changed and must not be used again.
func Render(ctx context.Context, c *chart.Chart, o Options) (*Result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, MaxTime, fmt.Errorf("the templates take longer than %s", MaxTime))
	defer cancel()
	values, err := valuesOf(c, o)
	if err != nil {
		return nil, err
	}
	// The definitions in crds directories are no templates.
	r := &Result{}
	for _, crd := range c.CRDObjects() {
		r.Outputs = append(r.Outputs, Output{Path: inside(c, crd.Filename), Text: string(crd.File.Data)})
	}
	sources := prepare(c)
	f := newFunctions(ctx, o)
	rendered, err := execute(ctx, c, values, f.table)
	r.Live, r.Dated = f.live.Load(), f.dated.Load()
	if err != nil {
		return &Result{Live: r.Live, Dated: r.Dated}, located(c, err)
	}
	size := 0
	for _, name := range slices.Sorted(maps.Keys(rendered)) {
		text := rendered[name]
		if size += len(text); size > MaxOutput {
			return nil, &Error{Message: fmt.Sprintf("the templates render to more than %d bytes", MaxOutput)}
		}
		if strings.TrimSpace(text) != "" {
			r.Outputs = append(r.Outputs, Output{Path: inside(c, name), Text: text, Source: sources[name]})
		}
	}
	return r, nil
}

// valuesOf are what the templates are given.
func valuesOf(c *chart.Chart, o Options) (common.Values, error) {
	caps, err := capabilities(o)
	if err != nil {
		return nil, err
	}
	if want := c.Metadata.KubeVersion; want != "" && !chartutil.IsCompatibleRange(want, caps.KubeVersion.String()) {
		return nil, &Error{Path: "Chart.yaml", Line: lineOf(raw(c, "Chart.yaml"), "kubeVersion"),
			Message: fmt.Sprintf("the chart wants Kubernetes %s, and this cluster is %s", want, caps.KubeVersion.String())}
	}
	if err := chartutil.ProcessDependencies(c, o.Values); err != nil {
		return nil, &Error{Path: "Chart.yaml", Line: 1, Message: "dependencies: " + err.Error()}
	}
	release := common.ReleaseOptions{Name: o.Release, Namespace: o.Namespace, Revision: 1, IsInstall: true}
	values, err := util.ToRenderValues(c, o.Values, release, caps)
	if err != nil {
		return nil, &Error{Path: "values.yaml", Line: 1, Message: oneLine(err.Error())}
	}
	return values, nil
}

// execute runs the templates; when their time is over it does not wait for
// them: they end at their next round.
func execute(ctx context.Context, c *chart.Chart, values common.Values, functions map[string]any) (map[string]string, error) {
	type result struct {
		rendered map[string]string
		err      error
	}
	done := make(chan result, 1)
	go func() {
		e := engine.Engine{CustomTemplateFuncs: functions}
		rendered, err := e.Render(c, values)
		done <- result{rendered, err}
	}()
	select {
	case r := <-done:
		return r.rendered, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func capabilities(o Options) (*common.Capabilities, error) {
	caps := common.DefaultCapabilities.Copy()
	if o.KubeVersion != "" {
		v, err := common.ParseKubeVersion(o.KubeVersion)
		if err != nil {
			return nil, fmt.Errorf("helm: version of the cluster: %w", err)
		}
		caps.KubeVersion = *v
	}
	if len(o.APIVersions) > 0 {
		caps.APIVersions = o.APIVersions
	}
	return caps, nil
}

// prepare takes out the notes, and bounds what is left. It gives the templates'
// texts by the names that the engine knows them by.
func prepare(c *chart.Chart) map[string]string {
	s := map[string]string{}
	var each func(c *chart.Chart)
	each = func(c *chart.Chart) {
		c.Templates = slices.DeleteFunc(c.Templates, func(f *common.File) bool { return path.Base(f.Name) == "NOTES.txt" })
		for _, f := range c.Templates {
			s[path.Join(c.ChartFullPath(), f.Name)] = string(f.Data)
			f.Data = []byte(fmt.Sprintf("{{headwayBegin %q}}", f.Name) + bound(string(f.Data)))
		}
		for _, d := range c.Dependencies() {
			each(d)
		}
	}
	each(c)
	return s
}

// inside turns the engine's name of a template into its path in the chart.
func inside(c *chart.Chart, name string) string { return strings.TrimPrefix(name, c.Name()+"/") }

func raw(c *chart.Chart, name string) string {
	for _, f := range c.Raw {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

func lineOf(text, what string) int {
	before, _, ok := strings.Cut(text, what)
	if !ok {
		return 1
	}
	return strings.Count(before, "\n") + 1
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
