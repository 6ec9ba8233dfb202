package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	agekeys "filippo.io/age"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/apiserver/offline"
	"github.com/headway-sh/headway/gitsource"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/render/subst"
	"github.com/headway-sh/headway/gitsource/repo"
	"github.com/headway-sh/headway/internal/printer"
)

// vetOptions say how a directory is rendered without a cluster.
type vetOptions struct {
	source, ageKey, namespace, render, cluster string
	values, repositories                       []string
}

// renderCommand shows what a directory renders to.
func renderCommand() *cobra.Command {
	var output printer.Flag
	return vetting("render [PATH]", "Show the objects that a directory renders to, without a cluster",
		`Show the objects that a directory of a repository renders to, as they lie there,
committed or not. No cluster is asked. Values of Secrets are masked. Exit
status: 0 rendered, 4 it does not render.`, &output, func(w io.Writer, v *vetted) error {
			if v.set == nil {
				return v.refuse(w, output.Format)
			}
			return printer.Print(w, output.Format, v.rendered())
		})
}

// vetCommand judges a directory as the server would.
func vetCommand() *cobra.Command {
	var output printer.Flag
	return vetting("vet [PATH]", "Check a directory as the cluster would check its commit, without a cluster",
		`Render a directory of a repository as it lies there, committed or not, and check
every object by the rules of its kind, with the code that plans commits. All
mistakes are told, each with file and line. What only a cluster knows (rights,
quotas, policies, whether a namespace exists) is not checked. Exit status: 0
fine, 4 mistakes.`, &output, func(w io.Writer, v *vetted) error {
			if len(v.problems) > 0 {
				return v.refuse(w, output.Format)
			}
			return v.print(w, output.Format)
		})
}

func vetting(use, short, long string, output *printer.Flag, show func(io.Writer, *vetted) error) *cobra.Command {
	var o vetOptions
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			v, err := o.vet(cmd.Context(), dir)
			if err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), v)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.source, "source", "", "file with the GitSource that says how to render (its url, ref and paths do not count)")
	f.StringVar(&o.render, "render", "", "auto, plain, kustomize or helm (default: the GitSource's, else auto)")
	f.StringSliceVar(&o.values, "values", nil, "values files for charts, after the GitSource's; paths begin at the chart, or with a slash at the repository's root")
	f.StringSliceVar(&o.repositories, "chart-repository", nil, "https URL or directory in which charts' dependencies are looked for, after the GitSource's; what comes is kept in the user's cache")
	f.StringVar(&o.namespace, "namespace", "", "namespace of objects that name none (default: the GitSource's, else default)")
	f.StringVar(&o.cluster, "cluster-name", "", "what ${cluster_name} stands for")
	f.StringVar(&o.ageKey, "age-key", "", "file with age keys that open encrypted files")
	f.VarP(output, "output", "o", "form of the result: json, yaml, wide or name")
	return cmd
}

// vetted is what became of a directory.
type vetted struct {
	set      *render.Set // nil when it does not render
	problems []v1alpha1.Problem
}

func (o *vetOptions) vet(ctx context.Context, dir string) (*vetted, error) {
	spec, err := o.spec()
	if err != nil {
		return nil, err
	}
	root, within, err := repositoryOf(dir)
	if err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp("", "headway-vet-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	r, commit, err := snapshot(scratch, root)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // only read from by now
	api, err := offline.New()
	if err != nil {
		return nil, err
	}
	cfg := gitsource.RenderConfig(&spec)
	cfg.Repo, cfg.Paths, cfg.Key = r, []string{within}, []byte("headway vet")
	cfg.Variables["cluster_name"] = subst.Variable{Value: o.cluster, Tag: "!!str"}
	cfg.Variables["source_name"] = subst.Variable{Value: mainSourceName, Tag: "!!str"}
	cfg.Decrypt = offlineKeys(&spec, o.ageKey)
	cfg.Charts.Fetch = gitsource.FetchCharts(userCharts(), cfg.Charts.Repositories)
	cfg.Charts.Cluster = func() (*render.Cluster, error) {
		version, apis := api.Capabilities()
		return &render.Cluster{KubeVersion: version, APIVersions: apis}, nil
	}
	v := &vetted{}
	v.set, v.problems, err = gitsource.Vet(ctx, cfg, &spec, commit, api, api)
	return v, err
}

// offlineKeys are those of a file, for everybody who has keys in the cluster.
func offlineKeys(spec *v1alpha1.GitSourceSpec, file string) func(string) ([]agekeys.Identity, error) {
	tenancy := plan.NewTenancy(spec)
	return func(owner string) ([]agekeys.Identity, error) {
		if d := tenancy.Decryption(owner); owner != "" && (d == nil || d.SecretRef == nil) {
			return nil, nil
		}
		return ageKeys(file)
	}
}

// spec is the GitSource's, with what the flags say on top.
func (o *vetOptions) spec() (v1alpha1.GitSourceSpec, error) {
	var source v1alpha1.GitSource
	if o.source != "" {
		text, err := os.ReadFile(o.source)
		if err != nil {
			return source.Spec, err
		}
		if err := yaml.UnmarshalStrict(text, &source); err != nil {
			return source.Spec, fmt.Errorf("%s: %w", o.source, err)
		}
	}
	if o.render != "" {
		source.Spec.Render = v1alpha1.RenderMode(o.render)
	}
	if o.namespace != "" {
		source.Spec.TargetNamespace = o.namespace
	}
	for _, r := range o.repositories {
		if source.Spec.Helm == nil {
			source.Spec.Helm = &v1alpha1.HelmSpec{}
		}
		if !strings.Contains(r, "://") {
			full, err := filepath.Abs(r)
			if err != nil {
				return source.Spec, err
			}
			r = full
		}
		source.Spec.Helm.Repositories = append(source.Spec.Helm.Repositories, v1alpha1.ChartRepository{URL: r})
	}
	if len(o.values) > 0 {
		if source.Spec.Helm == nil {
			source.Spec.Helm = &v1alpha1.HelmSpec{}
		}
		source.Spec.Helm.ValuesFiles = append(source.Spec.Helm.ValuesFiles, o.values...)
	}
	source.Spec.URL, source.Spec.Paths, source.Spec.Ref = "/", nil, v1alpha1.GitReference{}
	v1alpha1.SetDefaultsGitSource(&source)
	return source.Spec, v1alpha1.ValidateGitSource(&source, nil).ToAggregate()
}

// repositoryOf finds the working tree that a directory lies in; without one the
// directory itself stands for it.
func repositoryOf(dir string) (root, within string, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return "", "", err
	}
	if info, err := os.Stat(dir); err != nil {
		return "", "", err
	} else if !info.IsDir() {
		return "", "", fmt.Errorf("%s is not a directory", dir)
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Lstat(filepath.Join(at, ".git")); err == nil {
			within, err := filepath.Rel(at, dir)
			return at, filepath.ToSlash(within), err
		}
		if at == filepath.Dir(at) {
			return dir, ".", nil
		}
	}
}

// snapshot makes a commit of a directory's files in a repository of its own.
func snapshot(scratch, root string) (*repo.Repository, repo.ID, error) {
	r, err := repo.OpenMirror(scratch)
	if err != nil {
		return nil, repo.ID{}, err
	}
	inside, err := os.OpenRoot(root)
	if err != nil {
		return nil, repo.ID{}, err
	}
	defer inside.Close()
	files := map[string][]byte{}
	err = fs.WalkDir(inside.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == ".git":
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.Type()&fs.ModeSymlink != 0:
			info, err := inside.Stat(name)
			if err != nil || !info.Mode().IsRegular() {
				return nil // what leads outside is not there
			}
		case !d.Type().IsRegular():
			return nil
		}
		content, err := inside.ReadFile(name)
		files[name] = content
		return err
	})
	if err != nil {
		return nil, repo.ID{}, errors.Join(err, r.Close())
	}
	commit, err := r.Write(repo.NewCommit{Files: files, Name: "headway vet", Email: "vet@localhost", Time: time.Now(), Message: "as it lies there"})
	if err != nil {
		return nil, repo.ID{}, errors.Join(err, r.Close())
	}
	return r, commit, nil
}

// refuse shows what is wrong.
func (v *vetted) refuse(w io.Writer, format printer.Format) error {
	if err := v.print(w, format); err != nil {
		return err
	}
	return exitCode{code: exitRejected}
}

// verdicts are what `headway vet` shows.
type verdicts struct {
	Objects  int                `json:"objects"`
	Problems []v1alpha1.Problem `json:"problems"`
}

func (v *vetted) print(w io.Writer, format printer.Format) error {
	objects := 0
	if v.set != nil {
		objects = len(v.set.Objects)
	}
	problems := v.problems
	if problems == nil {
		problems = []v1alpha1.Problem{}
	}
	return printer.Print(w, format, printer.Result{
		Object: verdicts{objects, problems},
		Text: func(w io.Writer, _ bool) error {
			for _, p := range v.problems {
				fmt.Fprintln(w, p)
			}
			_, err := fmt.Fprintf(w, "%d objects, %d problems\n", objects, len(v.problems))
			return err
		},
	})
}

// rendered shows the objects, as YAML unless another form is asked for.
func (v *vetted) rendered() printer.Result {
	list := make([]any, len(v.set.Objects))
	r := printer.Result{Object: map[string]any{"apiVersion": "v1", "kind": "List", "items": list}}
	for i, o := range v.set.Objects {
		body := masked(o.Body)
		list[i] = body.Object
		r.Names = append(r.Names, strings.ToLower(body.GetKind())+"/"+body.GetName())
	}
	r.Text = func(w io.Writer, _ bool) error {
		for i, o := range v.set.Objects {
			text, err := yaml.Marshal(list[i])
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(w, "---\n# %s\n%s", strings.Join(append([]string{o.Origin()}, o.Chain...), " ← "), text); err != nil {
				return err
			}
		}
		return nil
	}
	return r
}

// masked is an object without the values of a Secret.
func masked(o *unstructured.Unstructured) *unstructured.Unstructured {
	o = o.DeepCopy()
	if o.GetKind() != "Secret" || o.GetAPIVersion() != "v1" {
		return o
	}
	for _, field := range []string{"data", "stringData"} {
		values, _ := o.Object[field].(map[string]any)
		for key := range values {
			values[key] = "***"
		}
	}
	return o
}
