package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"sigs.k8s.io/yaml"

	"github.com/headway-sh/headway/internal/printer"
	"github.com/headway-sh/headway/nodeagent/cgroup"
	"github.com/headway-sh/headway/nodeagent/network"
	"github.com/headway-sh/headway/nodeagent/policy"
	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/runtime/containerd"
	"github.com/headway-sh/headway/proxy/dns"
	"github.com/headway-sh/headway/proxy/modes"
)

// endEvery is how often ending containers are looked at.
const endEvery = 50 * time.Millisecond

// downOptions are the flags of `headway down`.
type downOptions struct {
	dataDir string
	purge   bool
	grace   time.Duration
}

func downCommand() *cobra.Command {
	var o downOptions
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop this machine's cluster and leave nothing of it running",
		Long: `Stop this machine's cluster: server, containers, containerd and log keeper, and
take away their rules, links, mounts, cgroups and unit. The data stay, and
"headway up" goes on from them, unless --purge is given.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, err := filepath.Abs(o.dataDir)
			if err != nil {
				return err
			}
			o.dataDir = path
			return down(cmd.Context(), o, printer.NewProgress(cmd.ErrOrStderr(), os.Getenv))
		},
	}
	cmd.Flags().StringVar(&o.dataDir, "data-dir", defaultDataDir, "where everything is kept")
	cmd.Flags().BoolVar(&o.purge, "purge", false, "remove the data too, the repository included")
	cmd.Flags().DurationVar(&o.grace, "grace-period", 5*time.Second, "how long containers may take to stop by themselves")
	return cmd
}

// down goes on after a step that fails, so that one obstacle leaves as little
// as can be, and tells of all.
func down(ctx context.Context, o downOptions, progress *printer.Progress) error {
	if os.Geteuid() != 0 {
		return errors.New("stopping a node needs root: run it again with sudo")
	}
	files := serviceFiles{o.dataDir}
	service, err := newService(files)
	if err != nil {
		return err
	}
	if err := service.Stop(ctx); err != nil {
		return fmt.Errorf("stop the server: %w", err)
	}
	progress.Done("the server is stopped")
	if !ownDataDir(files) {
		if o.purge {
			return fmt.Errorf("%s is no data directory of a cluster; nothing is removed", o.dataDir)
		}
		return nil
	}
	endpoint, group := configuredRuntime(files)
	n := nodeTools(o.dataDir, endpoint, group)
	err = errors.Join(n.stopContainers(ctx, o.grace), n.removeTraces(ctx))
	if err != nil {
		return err
	}
	progress.Done("containers, rules, links, mounts and cgroups are gone")
	if !o.purge {
		return nil
	}
	if err := os.RemoveAll(o.dataDir); err != nil {
		return fmt.Errorf("remove data: %w", err)
	}
	progress.Done("%s is removed", o.dataDir)
	return nil
}

// ownDataDir tells whether a directory is one of ours: nothing else may ever
// be removed.
func ownDataDir(files serviceFiles) bool {
	for _, name := range []string{files.config(), filepath.Join(files.data, adminConfig), nodeDirs{files.data}.containerd()} {
		if _, err := os.Stat(name); err == nil {
			return true
		}
	}
	return false
}

// configuredRuntime is the containerd that is not ours to stop (empty: none)
// and the control group that everything runs below.
func configuredRuntime(files serviceFiles) (endpoint, group string) {
	var config struct {
		Endpoint string `json:"runtime-endpoint"`
		Cgroup   string `json:"cgroup"`
	}
	text, err := os.ReadFile(files.config())
	if err == nil {
		err = yaml.Unmarshal(text, &config)
	}
	if err != nil || config.Cgroup == "" {
		config.Cgroup = defaultCgroup
	}
	return config.Endpoint, config.Cgroup
}

// stopContainers ends all pods and then what kept them: shims end with their
// containers, the log keeper and containerd after them.
func (n *nodeProcess) stopContainers(ctx context.Context, grace time.Duration) error {
	if _, err := os.Stat(n.dirs.containerd()); n.runtimeEndpoint == "" && err != nil {
		return nil // never was a node
	}
	keeper, err := n.logKeeper()
	if err != nil {
		return err
	}
	if err := keeper.Start(ctx); err != nil {
		return err
	}
	// An own containerd that has ended is started once more: only it can end
	// the shims that it left.
	r, err := n.openRuntime(ctx, true)
	if err != nil {
		return err
	}
	err = errors.Join(endPods(ctx, r, grace), r.Close())
	if err != nil {
		return fmt.Errorf("stop containers: %w", err)
	}
	if err := keeper.Stop(ctx); err != nil {
		return err
	}
	if n.runtimeEndpoint != "" {
		return nil
	}
	process, err := newContainerd(n.dirs, n.cgroup, quiet)
	if err != nil {
		return err
	}
	return process.Stop(ctx)
}

func endPods(ctx context.Context, r *containerd.Runtime, grace time.Duration) error {
	deadline := time.Now().Add(grace)
	for first := true; ; first = false {
		pods, containers, err := r.List(ctx)
		if err != nil {
			return err
		}
		containers = slices.DeleteFunc(containers, func(c runtime.Container) bool { return c.State != runtime.StateRunning })
		for _, c := range containers {
			if !first {
				break
			}
			if err := r.Signal(ctx, c.ID, int(unix.SIGTERM)); err != nil {
				return err
			}
		}
		if len(containers) > 0 && time.Now().Before(deadline) {
			time.Sleep(endEvery)
			continue
		}
		var errs []error
		for _, p := range pods {
			errs = append(errs, r.RemoveSandbox(ctx, p.PodUID))
		}
		return errors.Join(errs...)
	}
}

// removeTraces takes away what the node has made in the kernel.
func (n *nodeProcess) removeTraces(ctx context.Context) error {
	groups, err := cgroup.New(cgroup.Config{Parent: n.cgroup})
	if err != nil {
		return err
	}
	return errors.Join(
		modes.Retire(ctx, ""), n.removePodNetwork(ctx), policy.Remove(ctx, network.DefaultBridge, false, policy.IPTables{}), policy.Remove(ctx, network.DefaultBridge, true, policy.IPTables{IPv6: true}), dns.Unlink(),
		unmountBelow(n.dirs.data), groups.RemoveAll(), os.RemoveAll(n.dirs.run()),
	)
}

// unmountBelow unmounts everything below a directory, the last mounted first.
func unmountBelow(dir string) error {
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return !strings.HasPrefix(m.Mountpoint, dir+"/"), false
	})
	if err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	var errs []error
	for _, m := range slices.Backward(mounts) {
		if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", m.Mountpoint, err))
		}
	}
	return errors.Join(errs...)
}
