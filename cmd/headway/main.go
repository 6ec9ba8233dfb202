// Command headway is a Kubernetes-compatible cluster whose desired state is a
// git repository: server, node agent and the tools to look at both.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	_ "time/tzdata" // CronJobs name time zones, also where no list of them is installed

	containerdlog "github.com/containerd/log"
	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/headway-sh/headway/internal/failpoint"
	"github.com/headway-sh/headway/internal/ownpages"
	"github.com/headway-sh/headway/nodeagent/logkeeper"
)

// Exit statuses, as documented for every verb.
const (
	exitOK       = 0
	exitDiffers  = 1 // differs, failed, or not in the desired state
	exitError    = 2
	exitTimeout  = 3
	exitRejected = 4
)

// exitCode is an error that chooses the exit status.
type exitCode struct {
	code int
	err  error // nil: nothing more to say
}

func (e exitCode) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e exitCode) Unwrap() error { return e.err }

func main() {
	os.Exit(run(os.Args[1:]))
}

// keepLogs is the log keeper's process. It is this program for a small part, and
// gives the rest of its pages back.
func keepLogs(ctx context.Context, args []string) error {
	ctx, cancel := context.WithCancel(ctx)
	var pages sync.WaitGroup
	pages.Go(func() { _ = ownpages.Run(ctx, clock.RealClock{}) }) // pages that stay cost memory only
	err := logkeeper.Main(ctx, args)
	cancel()
	pages.Wait()
	return err
}

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(args) > 0 && args[0] == "logkeeper" {
		return status(keepLogs(ctx, args[1:]))
	}
	if err := failpoint.FromEnvironment(); err != nil {
		return status(err)
	}
	quietLibraries()
	root := newRoot()
	if err := complete(root); err != nil {
		return status(err)
	}
	root.SetArgs(args)
	return status(root.ExecuteContext(ctx))
}

// quietLibraries lets the client libraries speak of what goes wrong only.
func quietLibraries() {
	log := logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	ctrllog.SetLogger(log)
	klog.SetLogger(log)
	if err := containerdlog.SetLevel("error"); err != nil {
		slog.Error("containerd's library stays as loud as it is", "err", err)
	}
}

// status prints an error for the person and gives the exit status.
func status(err error) int {
	var code exitCode
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		if code.err != nil {
			fmt.Fprintln(os.Stderr, "headway:", code.err)
		}
		return code.code
	}
	fmt.Fprintln(os.Stderr, "headway:", err)
	return exitError
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "headway",
		Short:         "A Kubernetes-compatible cluster whose desired state is a git repository",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.PersistentFlags().String("config", "", "YAML file whose keys are flag names")
	root.PersistentFlags().String("kubeconfig", "", "how to reach the cluster (default: $KUBECONFIG, else the local cluster's admin.kubeconfig)")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return settings(cmd) }
	root.AddGroup(&cobra.Group{ID: "cluster", Title: "Run a cluster:"}, &cobra.Group{ID: "git", Title: "Work with commits:"}, &cobra.Group{ID: "admin", Title: "Administer:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("cluster", upCommand(), downCommand(), serverCommand(), agentCommand(), proxyCommand(), superviseCommand(), devCommand())
	add("git", renderCommand(), vetCommand(), statusCommand(), waitCommand(), diffCommand(), planCommand(), logCommand(), getCommand(), eventsCommand(),
		syncCommand(), suspendCommand(), resumeCommand(), rollbackCommand(), approveCommand())
	add("git", blameCommand(), adoptCommand(), traceCommand(), treeCommand(), bundleCommand())
	add("admin", imageCommand(), nodeCommand(), tokenCommand(), gossipCommand(), userCommand(), secretsEncryptCommand(), kubectlCommand())
	return root
}
