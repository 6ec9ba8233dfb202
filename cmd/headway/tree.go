package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/health"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/internal/printer"
)

// treeCommand shows what a source has in the cluster, with all that came of it.
func treeCommand() *cobra.Command {
	var output printer.Flag
	cmd := &cobra.Command{
		Use:   "tree [SOURCE]",
		Short: "Show a source's objects, and what they own, with their health",
		Long: `Show what a source has in the cluster: its objects, with their place in git, and
below them what they own. Exit status: 0 all of it is healthy, 1 it is not.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := userCluster(cmd)
			if err != nil {
				return err
			}
			t, err := treeOf(cmd.Context(), c, sourceName(args))
			if err != nil {
				return err
			}
			if err := printer.Print(cmd.OutOrStdout(), output.Format, t.result(printer.NewSigns(os.Getenv))); err != nil {
				return err
			}
			if !t.healthy() {
				return exitCode{code: exitDiffers}
			}
			return nil
		},
	}
	cmd.Flags().VarP(&output, "output", "o", "form of the result: json, yaml, wide or name")
	return cmd
}

// sourceTree is what a source has in the cluster.
type sourceTree struct {
	Source   string      `json:"source"`
	Revision string      `json:"revision"`
	Health   string      `json:"health"`
	Objects  []*treeNode `json:"objects"`
}

// treeNode is an object and what it owns.
type treeNode struct {
	Object   string      `json:"object"`
	Health   string      `json:"health"`
	Message  string      `json:"message,omitempty"`
	Origin   string      `json:"origin,omitempty"`
	Children []*treeNode `json:"children,omitempty"`
}

func treeOf(ctx context.Context, c *cluster, name string) (*sourceTree, error) {
	var source v1alpha1.GitSource
	if err := c.Get(ctx, client.ObjectKey{Name: name}, &source); err != nil {
		return nil, err
	}
	all, err := inventoriesOf(ctx, c)
	if err != nil {
		return nil, err
	}
	inventory := all[name]
	if inventory == nil {
		inventory = plan.NewInventory()
	}
	s, err := scan(ctx, c, "")
	if err != nil {
		return nil, err
	}
	judge, errs := health.NewJudge(source.Spec.Health.Checks)
	if len(errs) > 0 {
		return nil, fmt.Errorf("source %q: health checks: %w", name, errs[0])
	}
	g := grower{scanned: s, judge: judge, seen: map[txn.Ref]bool{}}
	t := &sourceTree{Source: name, Revision: revision(inventory.Head.Ref, inventory.Head.Commit), Health: source.Status.Health, Objects: []*treeNode{}}
	for _, ref := range slices.SortedFunc(maps.Keys(inventory.Entries), txn.Ref.Compare) {
		e := inventory.Entries[ref]
		n := g.grow(ref, &e)
		n.Origin = e.Origin
		t.Objects = append(t.Objects, n)
	}
	return t, nil
}

// grower makes trees of what a cluster has.
type grower struct {
	*scanned
	judge *health.Judge
	seen  map[txn.Ref]bool
}

func (g *grower) grow(ref txn.Ref, e *plan.Entry) *treeNode {
	n := &treeNode{Object: ref.String()}
	o := g.objects[ref]
	if o == nil {
		n.Health, n.Message = "Missing", "is not in the cluster"
		return n
	}
	state := g.judge.Of(e, o)
	n.Health, n.Message = state.Health, state.Message
	if g.seen[ref] {
		return n // is shown elsewhere
	}
	g.seen[ref] = true
	children := slices.Clone(g.children[o.GetUID()])
	slices.SortFunc(children, txn.Ref.Compare)
	for _, child := range children {
		gvk := g.objects[child].GroupVersionKind()
		n.Children = append(n.Children, g.grow(child, &plan.Entry{
			Group: gvk.Group, Resource: child.Resource.Resource, APIVersion: gvk.GroupVersion().String(), Kind: gvk.Kind, Namespace: child.Namespace, Name: child.Name,
		}))
	}
	return n
}

// healthy tells whether every object that git says is.
func (t *sourceTree) healthy() bool {
	return !slices.ContainsFunc(t.Objects, func(n *treeNode) bool { return n.Health != v1alpha1.HealthHealthy })
}

func (t *sourceTree) result(signs printer.Signs) printer.Result {
	r := printer.Result{Object: t}
	for _, n := range t.Objects {
		r.Names = append(r.Names, n.Object)
	}
	r.Text = func(w io.Writer, _ bool) error {
		if _, err := fmt.Fprintf(w, "%s  %s  %s\n", t.Source, t.Revision, t.Health); err != nil {
			return err
		}
		return branches(w, signs, t.Objects, "")
	}
	return r
}

func branches(w io.Writer, signs printer.Signs, nodes []*treeNode, indent string) error {
	for i, n := range nodes {
		branch, below := signs.Branch(i == len(nodes)-1)
		line := fmt.Sprintf("%s%s%s %s", indent, branch, signs.Health(n.Health), n.Object)
		if n.Origin != "" {
			line += "  (" + n.Origin + ")"
		}
		if n.Message != "" && n.Health != v1alpha1.HealthHealthy {
			line += "  " + n.Health + ": " + n.Message
		}
		if _, err := fmt.Fprintln(w, printer.Clean(line)); err != nil {
			return err
		}
		if err := branches(w, signs, n.Children, indent+below); err != nil {
			return err
		}
	}
	return nil
}

// conditionOf is whether a source's newest commit is applied.
func conditionOf(o *v1alpha1.GitSource) *metav1.Condition {
	return meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady)
}

// subject is the first line of a commit's message.
func subject(message string) string {
	line, _, _ := strings.Cut(message, "\n")
	return line
}
