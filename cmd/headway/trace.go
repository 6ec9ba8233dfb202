package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/health"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/internal/printer"
)

// traceCommand goes from an object up to the commit that it is there for.
func traceCommand() *cobra.Command {
	var namespace string
	var output printer.Flag
	cmd := &cobra.Command{
		Use:   "trace KIND/NAME",
		Short: "Show where an object comes from: its owners, the line in git, the commit",
		Long: `Show where an object comes from: the objects that own it, one after the other,
the place in git of the first one, the commit that is applied and how it is.
Exit status: 0 it comes from git, 1 it does not.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := userCluster(cmd)
			if err != nil {
				return err
			}
			t, err := traceObject(cmd.Context(), c, namespace, args[0])
			if err != nil {
				return err
			}
			if err := printer.Print(cmd.OutOrStdout(), output.Format, t.result()); err != nil {
				return err
			}
			if t.Git == nil {
				return exitCode{code: exitDiffers}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace of the object")
	cmd.Flags().VarP(&output, "output", "o", "form of the result: json, yaml, wide or name")
	return cmd
}

// traced is the way from an object to git.
type traced struct {
	Objects []tracedObject `json:"objects"` // the object, its owner, and so on
	Git     *tracedGit     `json:"git,omitempty"`
}

type tracedObject struct {
	Object  string    `json:"object"`
	Health  string    `json:"health"`
	Message string    `json:"message,omitempty"`
	Created time.Time `json:"created,omitzero"`
}

type tracedGit struct {
	Source   string     `json:"source"`
	URL      string     `json:"url"`
	Revision string     `json:"revision"`
	Origin   string     `json:"origin,omitempty"`
	Through  string     `json:"through,omitempty"`
	Commit   string     `json:"commit"`
	Author   string     `json:"author,omitempty"`
	Subject  string     `json:"subject,omitempty"`
	Phase    string     `json:"phase,omitempty"`
	Applied  *time.Time `json:"appliedTime,omitempty"`
	Message  string     `json:"message,omitempty"`
}

// maxOwners is how many owners are followed: what goes round has no end.
const maxOwners = 16

func traceObject(ctx context.Context, c *cluster, namespace, name string) (*traced, error) {
	named, err := nameObject(c, namespace, name)
	if err != nil {
		return nil, err
	}
	all, err := inventoriesOf(ctx, c)
	if err != nil {
		return nil, err
	}
	t := &traced{}
	var judge health.Judge
	for range maxOwners {
		live, err := named.live(ctx, c)
		if err != nil {
			return nil, err
		}
		owner := ownerOf(all, named.ref)
		if live == nil && owner == nil && len(t.Objects) == 0 {
			return nil, fmt.Errorf("there is no %s", named.ref)
		}
		t.Objects = append(t.Objects, describe(&judge, named, live))
		if owner != nil {
			t.Git, err = traceGit(ctx, c, owner)
			return t, err
		}
		up, err := controllerOf(c, live)
		if err != nil || up == nil {
			return t, err
		}
		named = *up
	}
	return t, nil
}

func describe(judge *health.Judge, named namedObject, live *unstructured.Unstructured) tracedObject {
	out := tracedObject{Object: named.ref.String()}
	e := plan.Entry{Group: named.gvk.Group, Resource: named.ref.Resource.Resource, APIVersion: named.gvk.GroupVersion().String(), Kind: named.gvk.Kind}
	if live == nil {
		out.Health, out.Message = "Missing", "is not in the cluster"
		return out
	}
	state := judge.Of(&e, live)
	out.Health, out.Message, out.Created = state.Health, state.Message, live.GetCreationTimestamp().Time
	return out
}

// controllerOf names the controller of an object, or else its first owner; nil
// when it has none.
func controllerOf(c client.Client, o *unstructured.Unstructured) (*namedObject, error) {
	if o == nil || len(o.GetOwnerReferences()) == 0 {
		return nil, nil
	}
	owner := o.GetOwnerReferences()[0]
	for _, candidate := range o.GetOwnerReferences() {
		if candidate.Controller != nil && *candidate.Controller {
			owner = candidate
		}
	}
	gvk := schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind)
	mapping, err := c.RESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, err
	}
	up := &namedObject{ref: txn.Ref{Resource: mapping.Resource.GroupResource(), Name: owner.Name}, gvk: gvk}
	if mapping.Scope.Name() == "namespace" {
		up.ref.Namespace = o.GetNamespace()
	}
	return up, nil
}

func traceGit(ctx context.Context, c client.Reader, owner *owned) (*tracedGit, error) {
	var source v1alpha1.GitSource
	if err := c.Get(ctx, client.ObjectKey{Name: owner.source}, &source); err != nil {
		return nil, err
	}
	g := &tracedGit{
		Source: owner.source, URL: source.Spec.URL, Revision: revision(owner.head.Ref, owner.head.Commit),
		Origin: owner.entry.Origin, Through: owner.entry.Through, Commit: owner.head.Commit,
	}
	if ready := conditionOf(&source); ready != nil {
		g.Message = ready.Message
	}
	var release v1alpha1.Release
	err := c.Get(ctx, client.ObjectKey{Name: v1alpha1.ReleaseName(owner.source, owner.head.Commit)}, &release)
	if apierrors.IsNotFound(err) {
		return g, nil
	}
	if err != nil {
		return nil, err
	}
	g.Author, g.Subject, g.Phase = release.Spec.Author, subject(release.Spec.Message), phaseText(&release)
	if release.Status.AppliedTime != nil {
		g.Applied = &release.Status.AppliedTime.Time
	}
	return g, nil
}

func (t *traced) result() printer.Result {
	r := printer.Result{Object: t}
	for _, o := range t.Objects {
		r.Names = append(r.Names, o.Object)
	}
	r.Text = func(w io.Writer, _ bool) error {
		for i, o := range t.Objects {
			if i > 0 {
				fmt.Fprintln(w, "---")
			}
			lines(w, "Object", o.Object, "Health", o.Health, "Message", o.Message, "Age", age(&o.Created))
		}
		fmt.Fprintln(w, "---")
		g := t.Git
		if g == nil {
			_, err := fmt.Fprintln(w, "no source has it in git")
			return err
		}
		lines(w, "Source", g.Source, "URL", g.URL, "Revision", g.Revision, "File", g.Origin, "Through", g.Through, "Author", g.Author, "Subject", g.Subject,
			"Release", g.Phase, "Applied", ago(g.Applied), "Message", g.Message)
		return nil
	}
	return r
}

// lines writes names and values, and leaves out what is empty.
func lines(w io.Writer, pairs ...string) {
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(w, "%-10s%s\n", pairs[i]+":", printer.Clean(pairs[i+1]))
		}
	}
}

func ago(t *time.Time) string {
	if t == nil {
		return ""
	}
	return age(t) + " ago"
}
