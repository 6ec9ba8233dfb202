package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/internal/printer"
)

// logCommand lists what became of each commit.
func logCommand() *cobra.Command {
	var source, namespace string
	var output printer.Flag
	cmd := &cobra.Command{
		Use:   "log [KIND/NAME]",
		Short: "List the commits that the cluster has seen and what became of them",
		Long: `List the commits that the cluster has seen and what became of them, the newest
first. With an object, as deploy/web, only those that have changed it; a release
remembers the first 200 objects that it changes.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := userCluster(cmd)
			if err != nil {
				return err
			}
			keep := func(r *v1alpha1.Release) bool { return source == "" || r.Spec.Source == source }
			if len(args) > 0 {
				object, err := nameObject(c, namespace, args[0])
				if err != nil {
					return err
				}
				all, name := keep, object.ref.String()
				keep = func(r *v1alpha1.Release) bool {
					return all(r) && slices.ContainsFunc(r.Status.Outcomes, func(o v1alpha1.ObjectOutcome) bool { return o.Object == name })
				}
			}
			r, err := releases(cmd.Context(), c, keep)
			if err != nil {
				return err
			}
			return printer.Print(cmd.OutOrStdout(), output.Format, r)
		},
	}
	cmd.Flags().StringVar(&source, "source", "", "name of the GitSource (default: all)")
	cmd.Flags().StringVarP(&namespace, "namespace", "n", metav1.NamespaceDefault, "namespace of the object")
	cmd.Flags().VarP(&output, "output", "o", "form of the result: json, yaml, wide or name")
	return cmd
}

// getCommand lists objects of the project's own kinds.
func getCommand() *cobra.Command {
	get := &cobra.Command{Use: "get", Short: "List sources, releases, previews, or what is in no repository"}
	sourceList := listing("gitsources", "List the sources", sources)
	sourceList.Aliases = []string{"gitsource", "sources", "source"}
	releaseList := listing("releases", "List the releases", func(ctx context.Context, c *cluster) (printer.Result, error) {
		return releases(ctx, c, func(*v1alpha1.Release) bool { return true })
	})
	releaseList.Aliases = []string{"release"}
	get.AddCommand(sourceList, releaseList, unmanagedCommand(), previewsCommand())
	return get
}

// eventsCommand lists what the cluster has noted, in the order of time.
func eventsCommand() *cobra.Command {
	var namespace string
	cmd := listing("events", "List events, the newest last", func(ctx context.Context, c *cluster) (printer.Result, error) {
		return events(ctx, c, namespace)
	})
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "namespace (default: all)")
	return cmd
}

// listing is a command that shows a list.
func listing(use, short string, read func(context.Context, *cluster) (printer.Result, error)) *cobra.Command {
	var output printer.Flag
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := userCluster(cmd)
			if err != nil {
				return err
			}
			r, err := read(cmd.Context(), c)
			if err != nil {
				return err
			}
			return printer.Print(cmd.OutOrStdout(), output.Format, r)
		},
	}
	cmd.Flags().VarP(&output, "output", "o", "form of the result: json, yaml, wide or name")
	return cmd
}

func releases(ctx context.Context, c *cluster, keep func(*v1alpha1.Release) bool) (printer.Result, error) {
	var list v1alpha1.ReleaseList
	if err := c.List(ctx, &list); err != nil {
		return printer.Result{}, err
	}
	list.Items = slices.DeleteFunc(list.Items, func(r v1alpha1.Release) bool { return !keep(&r) })
	// The newest first, as in git's own log.
	slices.SortStableFunc(list.Items, func(a, b v1alpha1.Release) int { return releaseTime(&b).Compare(releaseTime(&a)) })
	out := printer.Result{Object: list}
	for i := range list.Items {
		out.Names = append(out.Names, "release.gitops.headway.sh/"+list.Items[i].Name)
	}
	out.Text = func(w io.Writer, wide bool) error {
		rows := [][]string{{"COMMIT", "SOURCE", "PHASE", "AGE", "TOOK", "AUTHOR", "SUBJECT"}}
		if wide {
			rows[0] = append(rows[0], "CHANGED", "MESSAGE")
		}
		for i := range list.Items {
			r := &list.Items[i]
			at := releaseTime(r)
			subject, _, _ := strings.Cut(r.Spec.Message, "\n")
			row := []string{fmt.Sprintf("%.12s", r.Spec.Commit), r.Spec.Source, phaseText(r), age(&at), took(r), r.Spec.Author, subject}
			if wide {
				row = append(row, r.Status.Summary.String(), r.Status.Message)
			}
			rows = append(rows, row)
		}
		return printer.Rows(w, rows)
	}
	return out, nil
}

func releaseTime(r *v1alpha1.Release) time.Time {
	if r.Status.ObservedTime != nil {
		return r.Status.ObservedTime.Time
	}
	return r.CreationTimestamp.Time
}

// took is how long a commit was on its way; nothing while it is.
func took(r *v1alpha1.Release) string {
	if r.Status.FinishedTime == nil || r.Status.ObservedTime == nil {
		return ""
	}
	return r.Status.FinishedTime.Sub(r.Status.ObservedTime.Time).String()
}

func sources(ctx context.Context, c *cluster) (printer.Result, error) {
	var list v1alpha1.GitSourceList
	if err := c.List(ctx, &list); err != nil {
		return printer.Result{}, err
	}
	out := printer.Result{Object: list}
	for i := range list.Items {
		out.Names = append(out.Names, "gitsource.gitops.headway.sh/"+list.Items[i].Name)
	}
	out.Text = func(w io.Writer, wide bool) error {
		rows := [][]string{{"NAME", "REVISION", "SUSPENDED", "READY", "SYNC", "HEALTH", "DRIFT", "AGE", "MESSAGE"}}
		if wide {
			rows[0] = append(rows[0], "URL", "PATHS")
		}
		for i := range list.Items {
			o := &list.Items[i]
			s := stateOfSource(o, nil)
			ready, message := "Unknown", ""
			if c := conditionOf(o); c != nil {
				ready, message = string(c.Status), c.Message
			}
			row := []string{o.Name, revision(s.Ref, s.Applied), s.Suspend, ready, s.Sync, s.Health, fmt.Sprint(o.Status.DriftCount), age(&o.CreationTimestamp.Time), message}
			if wide {
				row = append(row, o.Spec.URL, strings.Join(o.Spec.Paths, " "))
			}
			rows = append(rows, row)
		}
		return printer.Rows(w, rows)
	}
	return out, nil
}

func events(ctx context.Context, c *cluster, namespace string) (printer.Result, error) {
	var list corev1.EventList
	if err := c.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return printer.Result{}, err
	}
	slices.SortStableFunc(list.Items, func(a, b corev1.Event) int { return eventTime(&a).Compare(eventTime(&b)) })
	out := printer.Result{Object: list}
	for i := range list.Items {
		out.Names = append(out.Names, "event/"+list.Items[i].Name)
	}
	out.Text = func(w io.Writer, wide bool) error {
		rows := [][]string{{"LAST SEEN", "NAMESPACE", "TYPE", "REASON", "OBJECT", "MESSAGE"}}
		if wide {
			rows[0] = append(rows[0], "COUNT", "FROM")
		}
		for i := range list.Items {
			e := &list.Items[i]
			at := eventTime(e)
			row := []string{age(&at), e.Namespace, e.Type, e.Reason, strings.ToLower(e.InvolvedObject.Kind) + "/" + e.InvolvedObject.Name, strings.TrimSpace(e.Message)}
			if wide {
				row = append(row, fmt.Sprint(max(1, e.Count)), e.Source.Component+e.ReportingController)
			}
			rows = append(rows, row)
		}
		return printer.Rows(w, rows)
	}
	return out, nil
}

func eventTime(e *corev1.Event) time.Time {
	for _, t := range []metav1.Time{e.LastTimestamp, {Time: e.EventTime.Time}, e.FirstTimestamp} {
		if !t.IsZero() {
			return t.Time
		}
	}
	return e.CreationTimestamp.Time
}
