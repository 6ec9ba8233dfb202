package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/headway-sh/headway/apiserver/admission"
)

const (
	defaultDevDir  = "/var/lib/headway-dev"
	defaultDevCIDR = "10.89.0.0/24"
	// devPatience is how long a cluster may take to start.
	devPatience = 2 * time.Minute
)

// devCommand runs a whole cluster on this machine.
func devCommand() *cobra.Command {
	var o devOptions
	dev := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cluster on this machine, for development",
		Long: `Run a whole cluster on this machine, for development.

Each server and node is a machine of its own: a network namespace with a link to
all others, a data directory, and on nodes a containerd. The cluster runs in the
background until "headway dev down".`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), devPatience)
			defer cancel()
			return devUp(ctx, o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	dev.PersistentFlags().StringVar(&o.dataDir, "data-dir", defaultDevDir, "where everything is kept; a short path, for sockets are in it")
	f := dev.Flags()
	f.IntVar(&o.servers, "servers", 1, "number of servers")
	f.IntVar(&o.nodes, "nodes", 2, "number of nodes")
	f.StringVar(&o.cidr, "cidr", defaultDevCIDR, "range of the machines' addresses")
	f.StringVar(&o.podCIDR, "pod-cidr", defaultPodCIDR, "as headway server has it")
	f.StringVar(&o.serviceCIDR, "service-cidr", admission.DefaultServiceCIDR, "as headway server has it")
	f.StringVar(&o.repo, "repo", "", "git repository to follow: a path or an https:// URL")
	o.faults(dev)
	dev.AddCommand(devDownCommand(&o))
	return dev
}

// faults adds the commands that break machines, and heal.
func (o *devOptions) faults(dev *cobra.Command) {
	var oneWay string
	plain := func(do func(*devCluster, devMachine) error) func(*devCluster, devMachine, []string) error {
		return func(c *devCluster, m devMachine, _ []string) error { return do(c, m) }
	}
	for _, verb := range []struct {
		use, short string
		do         func(*devCluster, devMachine, []string) error
	}{
		{"kill MACHINE", "Kill a machine's server or agent; its containers go on", plain((*devCluster).kill)},
		{"pause MACHINE", "Stop a machine's server or agent for a while", plain((*devCluster).pause)},
		{"cut MACHINE", "Cut a machine off from all others, or one way only", func(c *devCluster, m devMachine, _ []string) error { return c.cut(m, oneWay) }},
		{"loss MACHINE PERCENT", "Lose so many of a machine's packets, each way", func(c *devCluster, m devMachine, args []string) error { return c.lose(m, args[0]) }},
		{"heal MACHINE", "Undo kill, pause, cut and loss", plain((*devCluster).heal)},
	} {
		cmd := &cobra.Command{Use: verb.use, Short: verb.short, Args: cobra.ExactArgs(strings.Count(verb.use, " ")), RunE: func(_ *cobra.Command, args []string) error {
			c, err := loadDev(o.dataDir)
			if err != nil {
				return err
			}
			m, err := c.machine(args[0])
			if err != nil {
				return err
			}
			return verb.do(c, m, args[1:])
		}}
		if strings.HasPrefix(verb.use, "cut") {
			cmd.Flags().StringVar(&oneWay, "one-way", "", "lose only what comes in to the machine, or what goes out: in, out")
		}
		dev.AddCommand(cmd)
	}
}

func devDownCommand(o *devOptions) *cobra.Command {
	var purge bool
	down := &cobra.Command{
		Use:   "down",
		Short: "End the cluster and leave nothing of it running",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadDev(o.dataDir)
			if err != nil {
				return err
			}
			if err := c.down(cmd.Context()); err != nil {
				return err
			}
			if purge {
				return os.RemoveAll(c.dir)
			}
			return nil
		},
	}
	down.Flags().BoolVar(&purge, "purge", false, "also remove all data")
	return down
}

// devOptions are the flags of `headway dev`.
type devOptions struct {
	dataDir, cidr, repo  string
	podCIDR, serviceCIDR string
	servers, nodes       int
}

func (o *devOptions) plan() (*devCluster, error) {
	switch {
	case os.Geteuid() != 0:
		return nil, errors.New("network namespaces and containers need root")
	case o.servers != 1:
		return nil, fmt.Errorf("--servers %d: only 1 is possible yet", o.servers)
	case o.nodes < 0 || o.nodes > 50:
		return nil, fmt.Errorf("--nodes %d: 0 to 50 are possible", o.nodes)
	}
	prefix, err := netip.ParsePrefix(o.cidr)
	if err != nil {
		return nil, fmt.Errorf("--cidr: %w", err)
	}
	if !prefix.Addr().Is4() || prefix.Bits() > 24 {
		return nil, fmt.Errorf("--cidr %s: an IPv4 range of at least 256 addresses is needed", o.cidr)
	}
	dir, err := filepath.Abs(o.dataDir)
	if err != nil {
		return nil, err
	}
	c := newDev(dir, prefix)
	for i := range o.servers {
		c.Machines = append(c.Machines, devMachine{Name: fmt.Sprintf("server-%d", i+1), Server: true, Address: c.address(i + 2), Repo: o.repo, PodCIDR: o.podCIDR, ServiceCIDR: o.serviceCIDR})
	}
	for i := range o.nodes {
		c.Machines = append(c.Machines, devMachine{Name: fmt.Sprintf("node-%d", i+1), Address: c.address(i + 11)})
	}
	return c, nil
}

// devUp starts what does not run yet and returns when all nodes are ready.
func devUp(ctx context.Context, o devOptions, out, progress io.Writer) error {
	c, err := o.plan()
	if err != nil {
		return err
	}
	if err := c.save(); err != nil {
		return fmt.Errorf("write %s: %w", c.file(), err)
	}
	if err := c.network().Up(); err != nil {
		return fmt.Errorf("make the network: %w", err)
	}
	for _, m := range c.Machines {
		if err := c.network().Add(m.Name, m.Address); err != nil {
			return fmt.Errorf("make machine %s: %w", m.Name, err)
		}
	}
	for _, m := range c.Machines {
		fmt.Fprintf(progress, "%s at %s …\n", m.Name, m.Address)
		if err := c.start(ctx, m); err != nil {
			return fmt.Errorf("start %s: %w", m.Name, err)
		}
		if m.Server {
			if err := c.serverReady(ctx, m); err != nil {
				return err
			}
		}
	}
	if err := c.nodesReady(ctx); err != nil {
		return err
	}
	fmt.Fprintln(out, c.kubeconfig())
	return nil
}
