package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// completionPatience is how long a shell waits for the cluster's names.
const completionPatience = 2 * time.Second

// completions are what a verb's first argument is, by its words.
var completions = map[string]cobra.CompletionFunc{
	"suspend": completed(completeSources), "resume": completed(completeSources), "sync": completed(completeSources), "tree": completed(completeSources),
	"approve": completed(completeSources), "bundle create": completed(completeCommits),
	"blame": completed(completeObjects), "adopt": completed(completeObjects), "trace": completed(completeObjects), "log": completed(completeObjects),
	"wait": completed(completeCommits), "rollback": completed(completeCommits), "diff": completed(completeCommits), "plan": completed(completeCommits),
}

// flagCompletions are the flags with names of the cluster. Those of verbs that
// know no cluster have the same names for other things.
var flagCompletions = map[string]cobra.CompletionFunc{"source": completed(completeSources), "since": completed(completeCommits)}

// complete gives the verbs of a command the names that the cluster has.
func complete(root *cobra.Command) error {
	for _, cmd := range root.Commands() {
		if f := completions[strings.TrimPrefix(cmd.CommandPath(), "headway ")]; f != nil {
			cmd.ValidArgsFunction = f
		}
		if err := complete(cmd); err != nil {
			return err
		}
		if cmd.Name() == "render" || cmd.Name() == "vet" {
			continue // whose --source is a file
		}
		for name, f := range flagCompletions {
			if cmd.LocalFlags().Lookup(name) == nil {
				continue
			}
			if err := cmd.RegisterFlagCompletionFunc(name, func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
				return f(cmd, nil, word)
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// completed asks the cluster, and gives nothing when it does not answer.
func completed(ask func(ctx context.Context, cmd *cobra.Command, c *cluster, word string) ([]string, cobra.ShellCompDirective)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c, err := userCluster(cmd)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionPatience)
		defer cancel()
		return ask(ctx, cmd, c, word)
	}
}

func completeSources(ctx context.Context, _ *cobra.Command, c *cluster, _ string) ([]string, cobra.ShellCompDirective) {
	var list v1alpha1.GitSourceList
	if c.List(ctx, &list) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for i := range list.Items {
		out = append(out, cobra.CompletionWithDesc(list.Items[i].Name, list.Items[i].Spec.URL))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// completeCommits gives the commits that the cluster has seen, the newest
// first.
func completeCommits(ctx context.Context, _ *cobra.Command, c *cluster, _ string) ([]string, cobra.ShellCompDirective) {
	var list v1alpha1.ReleaseList
	if c.List(ctx, &list) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	slices.SortStableFunc(list.Items, func(a, b v1alpha1.Release) int { return releaseTime(&b).Compare(releaseTime(&a)) })
	var out []string
	for i := range list.Items {
		r := &list.Items[i]
		out = append(out, cobra.CompletionWithDesc(r.Spec.Commit[:min(12, len(r.Spec.Commit))], string(r.Status.Phase)+" "+subject(r.Spec.Message)))
	}
	return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// completeObjects gives kinds before the slash and names after it.
func completeObjects(ctx context.Context, cmd *cobra.Command, c *cluster, word string) ([]string, cobra.ShellCompDirective) {
	d, err := discovery.NewDiscoveryClientForConfig(c.config)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	kind, _, named := strings.Cut(word, "/")
	if !named {
		lists, err := d.ServerPreferredResources()
		if err != nil && len(lists) == 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []string
		for _, list := range lists {
			for _, r := range list.APIResources {
				if slices.Contains(r.Verbs, "list") {
					out = append(out, r.Name+"/")
				}
			}
		}
		slices.Sort(out)
		return slices.Compact(out), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	mapper := restmapper.NewShortcutExpander(c.RESTMapper(), d, nil)
	gvk, err := mapper.KindFor(schema.ParseGroupResource(kind).WithVersion(""))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	var in []client.ListOption
	if f := cmd.Flag("namespace"); f != nil {
		if namespaced, err := c.IsObjectNamespaced(&unstructured.Unstructured{Object: map[string]any{"apiVersion": gvk.GroupVersion().String(), "kind": gvk.Kind}}); err == nil && namespaced {
			in = append(in, client.InNamespace(f.Value.String()))
		}
	}
	if c.List(ctx, list, in...) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for i := range list.Items {
		out = append(out, kind+"/"+list.Items[i].GetName())
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
