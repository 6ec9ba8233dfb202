package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/kubernetes"
	"k8s.io/kubectl/pkg/drain"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/apiserver/authn"
	"github.com/headway-sh/headway/internal/printer"
)

// nodeCommand looks after the cluster's machines.
func nodeCommand() *cobra.Command {
	node := &cobra.Command{Use: "node", Short: "List, empty, remove and replace the cluster's machines"}
	cordon := func(use, short string, to bool) *cobra.Command {
		return &cobra.Command{Use: use + " NODE...", Short: short, Args: cobra.MinimumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return eachNode(cmd, args, func(c *nodeWork, n *corev1.Node) error { return c.cordon(n, to) })
		}}
	}
	node.AddCommand(nodeListCommand(), cordon("cordon", "Let no new pods onto nodes", true), cordon("uncordon", "Let new pods onto nodes again", false),
		nodeDrainCommand(), nodeRemoveCommand(), nodeReplaceCommand(), nodeShutdownCommand())
	return node
}

// drainFlags are how a node is emptied.
type drainFlags struct {
	force, emptyDir bool
	grace           int
	timeout         time.Duration
}

func (d *drainFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&d.force, "force", false, "also end pods that no controller makes anew elsewhere")
	f.BoolVar(&d.emptyDir, "delete-emptydir-data", false, "also end pods whose emptyDir volumes are lost with them")
	f.IntVar(&d.grace, "grace-period", -1, "seconds that pods have to end (default: their own)")
	f.DurationVar(&d.timeout, "timeout", 0, "how long to try (default: until it is done)")
}

// nodeWork is what is done to one node.
type nodeWork struct {
	*cluster
	cmd    *cobra.Command
	helper *drain.Helper
}

// eachNode does something to nodes in turn.
func eachNode(cmd *cobra.Command, names []string, do func(*nodeWork, *corev1.Node) error) error {
	c, err := userCluster(cmd)
	if err != nil {
		return err
	}
	set, err := kubernetes.NewForConfig(c.config)
	if err != nil {
		return err
	}
	w := &nodeWork{cluster: c, cmd: cmd, helper: &drain.Helper{Ctx: cmd.Context(), Client: set, Out: io.Discard, ErrOut: cmd.ErrOrStderr()}}
	for _, name := range names {
		n := &corev1.Node{}
		if err := c.Get(cmd.Context(), client.ObjectKey{Name: name}, n); err != nil {
			return err
		}
		if err := do(w, n); err != nil {
			return fmt.Errorf("node %s: %w", name, err)
		}
	}
	return nil
}

func (w *nodeWork) cordon(n *corev1.Node, to bool) error {
	if err := drain.RunCordonOrUncordon(w.helper, n, to); err != nil {
		return err
	}
	progressOf(w.cmd).Done("%s takes %s pods", n.Name, map[bool]string{true: "no new", false: "new"}[to])
	return nil
}

// drain empties a node: pods are evicted, so that budgets hold. Pods of
// DaemonSets and of the node's own files stay, for they are nowhere else.
func (w *nodeWork) drain(n *corev1.Node, d drainFlags) error {
	if err := w.cordon(n, true); err != nil {
		return err
	}
	h := w.helper
	h.Force, h.DeleteEmptyDirData, h.GracePeriodSeconds, h.Timeout, h.IgnoreAllDaemonSets = d.force, d.emptyDir, d.grace, d.timeout, true
	h.OnPodDeletionOrEvictionFinished = func(pod *corev1.Pod, _ bool, err error) {
		if err == nil {
			progressOf(w.cmd).Done("pod %s/%s is gone", pod.Namespace, pod.Name)
		}
	}
	return drain.RunNodeDrain(h, n.Name)
}

// remove takes a node out of the cluster for good.
func (w *nodeWork) remove(n *corev1.Node) error {
	ctx := w.cmd.Context()
	record := authn.RemovedNode(n.Name, time.Now())
	err := w.Create(ctx, record)
	if apierrors.IsAlreadyExists(err) {
		err = w.Update(ctx, record)
	}
	if err != nil {
		return fmt.Errorf("take its certificate back: %w", err)
	}
	if err := w.Delete(ctx, n); client.IgnoreNotFound(err) != nil {
		return err
	}
	progressOf(w.cmd).Done("%s is removed, and its certificate is worth nothing any more", n.Name)
	return nil
}

func nodeDrainCommand() *cobra.Command {
	var d drainFlags
	cmd := &cobra.Command{Use: "drain NODE...", Short: "Empty nodes, within what disruption budgets allow", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return eachNode(cmd, args, func(w *nodeWork, n *corev1.Node) error { return w.drain(n, d) })
		}}
	d.add(cmd)
	return cmd
}

func nodeRemoveCommand() *cobra.Command {
	var d drainFlags
	var lost bool
	cmd := &cobra.Command{Use: "remove NODE...", Short: "Empty nodes and take them out of the cluster",
		Long: `Empty nodes and take them out of the cluster.

The node's certificate is not believed from then on. On the machine itself
"headway down" ends what still runs there. With --lost the machine is gone: it
is not emptied, and its pods are given up.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return eachNode(cmd, args, func(w *nodeWork, n *corev1.Node) error {
				if !lost {
					if err := w.drain(n, d); err != nil {
						return err
					}
				}
				return w.remove(n)
			})
		}}
	d.add(cmd)
	cmd.Flags().BoolVar(&lost, "lost", false, "the machine is gone: do not empty it first")
	return cmd
}

func nodeReplaceCommand() *cobra.Command {
	var d drainFlags
	var lost bool
	var dataDir string
	cmd := &cobra.Command{Use: "replace NODE", Short: "Remove a node and make a token for the machine that takes its name",
		Long: `Remove a node and make a token for the machine that takes its name.

A name belongs to the machine that has joined under it: another one is refused
until the node is removed. The token admits one machine, within an hour.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := eachNode(cmd, args, func(w *nodeWork, n *corev1.Node) error {
				if !lost {
					if err := w.drain(n, d); err != nil {
						return err
					}
				}
				return w.remove(n)
			})
			if err != nil {
				return err
			}
			return createToken(cmd, dataDir, time.Hour, 1)
		}}
	d.add(cmd)
	cmd.Flags().BoolVar(&lost, "lost", false, "the machine is gone: do not empty it first")
	cmd.Flags().StringVar(&dataDir, "data-dir", defaultDataDir, "the server's data directory")
	return cmd
}

func nodeListCommand() *cobra.Command {
	var output printer.Flag
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the nodes", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := userCluster(cmd)
			if err != nil {
				return err
			}
			rows, err := listNodes(cmd.Context(), c, time.Now())
			if err != nil {
				return err
			}
			return printer.Print(cmd.OutOrStdout(), output.Format, nodeResult(rows))
		}}
	cmd.Flags().VarP(&output, "output", "o", "form of the result: json, yaml, wide or name")
	return cmd
}

// nodeRow is what the list says of a node.
type nodeRow struct {
	Name       string   `json:"name"`
	Ready      string   `json:"ready"`
	Cordoned   bool     `json:"cordoned,omitempty"`
	Conditions []string `json:"pressure,omitempty"`
	Pods       int      `json:"pods"`
	MaxPods    int64    `json:"maxPods"`
	Address    string   `json:"address,omitempty"`
	Version    string   `json:"version"`
	OS         string   `json:"os"`
	Age        string   `json:"age"`
}

func listNodes(ctx context.Context, c client.Reader, now time.Time) ([]nodeRow, error) {
	var nodes corev1.NodeList
	var pods corev1.PodList
	if err := c.List(ctx, &nodes); err != nil {
		return nil, err
	}
	if err := c.List(ctx, &pods); err != nil {
		return nil, err
	}
	count := map[string]int{}
	for i := range pods.Items {
		if p := &pods.Items[i]; p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			count[p.Spec.NodeName]++
		}
	}
	rows := []nodeRow{}
	for i := range nodes.Items {
		n := &nodes.Items[i]
		row := nodeRow{Name: n.Name, Ready: "Unknown", Cordoned: n.Spec.Unschedulable, Pods: count[n.Name], MaxPods: n.Status.Allocatable.Pods().Value(),
			Version: n.Status.NodeInfo.KubeletVersion, OS: n.Status.NodeInfo.OSImage, Age: duration.HumanDuration(now.Sub(n.CreationTimestamp.Time))}
		for _, c := range n.Status.Conditions {
			switch {
			case c.Type == corev1.NodeReady:
				row.Ready = string(c.Status)
			case c.Status == corev1.ConditionTrue:
				row.Conditions = append(row.Conditions, string(c.Type))
			}
		}
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP && row.Address == "" {
				row.Address = a.Address
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func nodeResult(rows []nodeRow) printer.Result {
	result := printer.Result{Object: rows}
	for _, r := range rows {
		result.Names = append(result.Names, r.Name)
	}
	result.Text = func(w io.Writer, wide bool) error {
		cells := [][]string{{"NAME", "READY", "STATE", "PODS", "ADDRESS", "VERSION", "AGE"}}
		if wide {
			cells[0] = append(cells[0], "OS")
		}
		for _, r := range rows {
			state := r.Conditions
			if r.Cordoned {
				state = append([]string{"Cordoned"}, state...)
			}
			line := []string{r.Name, r.Ready, strings.Join(state, ","), strconv.Itoa(r.Pods) + "/" + strconv.FormatInt(r.MaxPods, 10), r.Address, r.Version, r.Age}
			if wide {
				line = append(line, r.OS)
			}
			cells = append(cells, line)
		}
		return printer.Rows(w, cells)
	}
	return result
}
