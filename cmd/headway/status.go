package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/rest"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/drift"
	"github.com/headway-sh/headway/internal/printer"
)

// sourceState is a source in a status.
type sourceState struct {
	Name     string             `json:"name"`
	URL      string             `json:"url"`
	Ref      string             `json:"ref,omitempty"`
	Observed string             `json:"observedCommit,omitempty"`
	Applied  string             `json:"appliedCommit,omitempty"`
	Since    *time.Time         `json:"appliedTime,omitempty"`
	Sync     string             `json:"sync"`
	Health   string             `json:"health"`
	Phase    string             `json:"phase,omitempty"`
	Objects  int32              `json:"objects"`
	Drift    []drift.Record     `json:"drift,omitempty"`
	Problems []v1alpha1.Problem `json:"problems,omitempty"`
	Suspend  string             `json:"suspended,omitempty"`
	Held     string             `json:"held,omitempty"` // why a suspended or pinned source stays where it is
	// Override is present when somebody has had the applied commit applied in
	// spite of windows.
	Override *v1alpha1.Override `json:"override,omitempty"`
}

// nodeState is a node in a status.
type nodeState struct {
	Name    string `json:"name"`
	Ready   bool   `json:"ready"`
	Address string `json:"address,omitempty"`
	Version string `json:"version,omitempty"`
	Message string `json:"message,omitempty"`
}

// clusterState is what `headway status` shows.
type clusterState struct {
	Server  string        `json:"server"`
	Sources []sourceState `json:"sources"`
	Nodes   []nodeState   `json:"nodes"`
	OK      bool          `json:"ok"`
}

func statusCommand() *cobra.Command {
	var output printer.Flag
	var exit bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show sources, commits, health, drift and nodes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := userCluster(cmd)
			if err != nil {
				return err
			}
			state, err := readState(cmd.Context(), c)
			if err != nil {
				return err
			}
			if err := printer.Print(cmd.OutOrStdout(), output.Format, state.result()); err != nil {
				return err
			}
			if exit && !state.OK {
				return exitCode{code: exitDiffers}
			}
			return nil
		},
	}
	cmd.Flags().VarP(&output, "output", "o", "form of the result: json, yaml, wide or name")
	cmd.Flags().BoolVar(&exit, "exit-code", false, "exit with 1 unless everything is Synced, Healthy and Ready")
	return cmd
}

func readState(ctx context.Context, c *cluster) (*clusterState, error) {
	var sources v1alpha1.GitSourceList
	var releases v1alpha1.ReleaseList
	var nodes corev1.NodeList
	for _, err := range []error{c.List(ctx, &sources), c.List(ctx, &releases), c.List(ctx, &nodes)} {
		if err != nil {
			return nil, err
		}
	}
	s := &clusterState{Server: c.config.Host, OK: true, Sources: []sourceState{}, Nodes: []nodeState{}}
	for i := range sources.Items {
		one := stateOfSource(&sources.Items[i], releases.Items)
		records, err := driftOf(ctx, c.config, one.Name)
		if err != nil {
			return nil, fmt.Errorf("read drift: %w", err)
		}
		one.Drift = records
		s.OK = s.OK && one.Sync == "Synced" && one.Health == v1alpha1.HealthHealthy
		s.Sources = append(s.Sources, one)
	}
	for i := range nodes.Items {
		one := stateOfNode(&nodes.Items[i])
		s.OK = s.OK && one.Ready
		s.Nodes = append(s.Nodes, one)
	}
	return s, nil
}

func stateOfSource(o *v1alpha1.GitSource, releases []v1alpha1.Release) sourceState {
	st := &o.Status
	out := sourceState{
		Name: o.Name, URL: o.Spec.URL, Ref: st.ObservedRef, Observed: st.ObservedCommit, Applied: st.AppliedCommit,
		Sync: "OutOfSync", Health: cmp.Or(st.Health, v1alpha1.HealthUnknown), Objects: st.Objects, Problems: st.Problems,
	}
	if st.AppliedTime != nil {
		out.Since = &st.AppliedTime.Time
	}
	fetched := true
	for _, c := range st.Conditions {
		if c.Type == v1alpha1.ConditionFetched && c.Status != "True" {
			fetched = false
			out.Problems = append(slices.Clip(out.Problems), v1alpha1.Problem{Message: c.Message})
		}
	}
	switch {
	case st.ObservedCommit == "" || !fetched:
		out.Sync = "Unknown" // what the repository has now cannot be seen
	case st.ObservedCommit == st.AppliedCommit:
		out.Sync = "Synced"
	}
	out.Suspend = heldBack(o)
	// Why the cluster stays where it is belongs to what everybody sees.
	if c := meta.FindStatusCondition(st.Conditions, v1alpha1.ConditionReady); c != nil && (o.Spec.Suspend != nil || o.Spec.Pin != nil || st.Frozen != nil || st.Awaits != nil) {
		out.Held = c.Message
	}
	if p := st.Promotion; p != nil && out.Held == "" {
		out.Held = p.Message
	}
	for i := range releases {
		r := &releases[i]
		if r.Spec.Source == o.Name && r.Spec.Commit == st.ObservedCommit {
			out.Phase = phaseText(r)
		}
		if r.Spec.Source == o.Name && r.Spec.Commit == st.AppliedCommit {
			out.Override = r.Status.Override
		}
	}
	return out
}

// heldBack says in a few words why new commits are not followed; nothing when
// they are.
func heldBack(o *v1alpha1.GitSource) string {
	switch s := o.Spec.Suspend; {
	case s != nil && s.Until != nil:
		return strings.TrimSpace(s.Reason + " (until " + s.Until.Local().Format("2006-01-02 15:04") + ")")
	case s != nil:
		return cmp.Or(s.Reason, "yes")
	case o.Spec.Pin != nil:
		return "pinned"
	case o.Status.Frozen != nil && o.Status.Frozen.Until != nil:
		return "frozen until " + o.Status.Frozen.Until.Local().Format("2006-01-02 15:04")
	case o.Status.Frozen != nil:
		return "frozen"
	case o.Status.Awaits != nil:
		return "awaiting approval"
	}
	return ""
}

// phaseText is a release's phase, with its stages while they are written.
func phaseText(r *v1alpha1.Release) string {
	if r.Status.Phase == v1alpha1.ReleaseApplying && r.Status.Stages > 1 {
		return fmt.Sprintf("%s (%d/%d)", r.Status.Phase, r.Status.Stage, r.Status.Stages)
	}
	return string(r.Status.Phase)
}

func stateOfNode(n *corev1.Node) nodeState {
	out := nodeState{Name: n.Name, Version: n.Status.NodeInfo.KubeletVersion}
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			out.Address = a.Address
			break
		}
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			out.Ready = c.Status == corev1.ConditionTrue
			if !out.Ready {
				out.Message = c.Message
			}
		}
	}
	return out
}

// driftOf reads the records of who changed what, the oldest first.
func driftOf(ctx context.Context, config *rest.Config, source string) ([]drift.Record, error) {
	notes, err := notesOf(ctx, config, drift.Prefix+source+"/")
	if err != nil {
		return nil, err
	}
	return drift.Load(notes)
}

func (s *clusterState) result() printer.Result {
	r := printer.Result{Object: s, Text: s.text}
	for _, one := range s.Sources {
		r.Names = append(r.Names, "gitsource.gitops.headway.sh/"+one.Name)
	}
	for _, n := range s.Nodes {
		r.Names = append(r.Names, "node/"+n.Name)
	}
	return r
}

// shownDrift is how many records of a source are shown without -o wide.
const shownDrift = 5

func (s *clusterState) text(w io.Writer, wide bool) error {
	rows := [][]string{{"SOURCE", "REVISION", "SUSPENDED", "SYNC", "HEALTH", "OBJECTS", "DRIFT", "AGE"}}
	for _, o := range s.Sources {
		rows = append(rows, []string{o.Name, revision(o.Ref, o.Applied), o.Suspend, o.Sync, o.Health, fmt.Sprint(o.Objects), fmt.Sprint(len(o.Drift)), age(o.Since)})
	}
	if err := printer.Rows(w, rows); err != nil {
		return err
	}
	for _, o := range s.Sources {
		if o.Held != "" {
			fmt.Fprintf(w, "\n%s: %s\n", o.Name, o.Held)
		} else if o.Sync == "OutOfSync" {
			fmt.Fprintf(w, "\n%s: the newest commit is %.12s (%s)\n", o.Name, o.Observed, cmp.Or(o.Phase, "not looked at yet"))
		}
		if o.Override != nil {
			fmt.Fprintf(w, "\n%s: %s has had %.12s applied in spite of windows: %s\n", o.Name, o.Override.By, o.Applied, o.Override.Freeze)
		}
		for _, p := range o.Problems {
			fmt.Fprintf(w, "  %s\n", p)
		}
	}
	if err := s.driftText(w, wide); err != nil {
		return err
	}
	fmt.Fprintln(w)
	rows = [][]string{{"NODE", "STATUS", "ADDRESS", "VERSION", "MESSAGE"}}
	for _, n := range s.Nodes {
		word := "NotReady"
		if n.Ready {
			word = "Ready"
		}
		rows = append(rows, []string{n.Name, word, n.Address, n.Version, n.Message})
	}
	return printer.Rows(w, rows)
}

func (s *clusterState) driftText(w io.Writer, wide bool) error {
	rows := [][]string{{"DRIFT", "OBJECT", "WHO", "FROM", "WHAT"}}
	for _, o := range s.Sources {
		records := o.Drift
		if !wide {
			records = records[max(0, len(records)-shownDrift):]
		}
		for i := range slices.Backward(records) {
			r := &records[i]
			rows = append(rows, []string{age(&r.Time) + " ago", r.Object, r.Who(), r.Address, driftWhat(r)})
		}
	}
	if len(rows) == 1 {
		return nil
	}
	fmt.Fprintln(w)
	return printer.Rows(w, rows)
}

func driftWhat(r *drift.Record) string {
	if r.Deleted {
		return "deleted it"
	}
	var changes []string
	for _, f := range r.Fields {
		changes = append(changes, fmt.Sprintf("%s: %s → %s", f.Path, cmp.Or(f.Before, "(none)"), cmp.Or(f.After, "(none)")))
	}
	return strings.Join(changes, ", ")
}

// revision is a commit as tables show it.
func revision(ref, commit string) string {
	if commit == "" {
		return ""
	}
	_, short, ok := strings.Cut(strings.TrimPrefix(ref, "refs/"), "/")
	if !ok {
		short = ref
	}
	return fmt.Sprintf("%s@sha1:%.8s", short, commit)
}

func age(t *time.Time) string {
	if t == nil {
		return ""
	}
	return duration.HumanDuration(time.Since(*t))
}
