package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"

	"github.com/headway-sh/headway/examples/hello"
	"github.com/headway-sh/headway/internal/pki"
	"github.com/headway-sh/headway/internal/printer"
	"github.com/headway-sh/headway/nodeagent/runtime/containerd"
)

// upOptions are the flags of `headway up`: the server's and two more.
type upOptions struct {
	server  serverOptions
	images  string
	bundle  string
	trust   trustFlags
	timeout time.Duration
}

func upCommand() *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a cluster on this machine and wait until it works",
		Long: `Start a cluster of one node on this machine and wait until it works.

It runs as a systemd unit, or where there is no systemd under a supervisor of
its own, and goes on after a reboot or a crash. Without --repo it follows a new
bare repository with an example in it, or with --bundle the commit in that file.
Run again with other flags, it is started anew with those; containers go on
meanwhile.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return up(cmd, o)
		},
	}
	logFlags(cmd)
	o.server.flags(cmd.Flags())
	cmd.Flags().StringVar(&o.images, "images", besideProgram("images"), "directory with image archives (*.tar) to load first")
	cmd.Flags().StringVar(&o.bundle, "bundle", "", "file of headway bundle create to start with, where there is no network")
	o.trust.add(cmd)
	cmd.Flags().DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long to wait for the cluster to work")
	return cmd
}

// besideProgram is a path in the directory that this program lies in.
func besideProgram(name string) string {
	self, err := os.Executable()
	if err != nil {
		return name
	}
	return filepath.Join(filepath.Dir(self), name)
}

func up(cmd *cobra.Command, o upOptions) error {
	if err := o.server.complete(); err != nil {
		return err
	}
	if err := checkThisMachine(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), o.timeout)
	defer cancel()
	progress := printer.NewProgress(cmd.ErrOrStderr(), os.Getenv)
	b, err := o.readBundle(ctx, progress)
	if err != nil {
		return err
	}
	defer func() { _ = b.close() }() // a scratch directory
	fits, err := o.fits(ctx, b)
	if err != nil {
		return err
	}
	files := serviceFiles{o.server.dataDir}
	if err := os.MkdirAll(files.data, 0o711); err != nil { //nolint:gosec // the repository in it is for others too
		return err
	}
	service, err := newService(files)
	if err != nil {
		return err
	}
	// A server that runs is stopped first, so that who else has the port shows.
	if err := service.Stop(ctx); err != nil {
		return err
	}
	if err := portFree(ctx, o.server.bind, o.server.port); err != nil {
		return err
	}
	if b == nil {
		if err := o.followExample(progress); err != nil {
			return err
		}
	}
	if o.server.enabled("agent") {
		if err := o.loadImages(ctx, b, fits, progress); err != nil {
			return err
		}
	}
	if err := writeServerConfig(cmd.Flags(), &o.server, files.config()); err != nil {
		return err
	}
	progress.Step("starting the server, data in %s", files.data)
	if err := service.Start(ctx); err != nil {
		return err
	}
	err = o.takeBundle(ctx, b, progress)
	if err == nil {
		err = waitUp(ctx, &o.server, progress)
	}
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = exitCode{exitTimeout, fmt.Errorf("the cluster does not work after %s: %w", o.timeout, err)}
		}
		progress.Fail("look into what the server says: %s", service.Logs())
		return err
	}
	return o.goOn(cmd.OutOrStdout(), service)
}

// portFree says it early and plainly when something else serves there.
func portFree(ctx context.Context, address string, port uint16) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(address, strconv.Itoa(int(port))))
	if err != nil {
		return fmt.Errorf("the API cannot be served: %w; choose another --https-port", err)
	}
	return l.Close()
}

// followExample makes the repository when none is named, and none has come with
// a bundle.
func (o *upOptions) followExample(progress *printer.Progress) error {
	if o.server.repo != "" {
		return nil
	}
	if _, err := os.Stat(o.bundled()); err == nil {
		progress.Done("source %s goes on with the repository %s", mainSourceName, o.bundled())
		return nil
	}
	o.server.repo = filepath.Join(o.server.dataDir, "repos", "cluster.git")
	if o.server.path == "" {
		o.server.path = hello.Path
	}
	made, err := seedRepository(o.server.repo, hello.Repository, time.Now())
	if made {
		progress.Done("made the repository %s from an example", o.server.repo)
	}
	return err
}

// loadImages gives the node's containerd what lies in the images directory,
// before the first pod asks for it.
func (o *upOptions) loadImages(ctx context.Context, b *readBundle, fits bool, progress *printer.Progress) error {
	archives, err := filepath.Glob(filepath.Join(o.images, "*.tar*"))
	if err != nil || len(archives) == 0 && (b.without() || !fits) {
		return err
	}
	n, err := nodeTools(o.server.dataDir, o.server.runtimeEndpoint, o.server.cgroup).openRuntime(ctx, true)
	if err != nil {
		return err
	}
	defer n.Close()
	for _, archive := range archives {
		names, err := importArchive(ctx, n, archive)
		if err != nil {
			return err
		}
		for _, name := range names {
			progress.Done("loaded image %s", name)
		}
	}
	if b.without() || !fits {
		return nil
	}
	if err := hasNeeds(ctx, b, n); err != nil {
		return err
	}
	return loadInto(ctx, b, []*containerd.Runtime{n}, progress)
}

// writeServerConfig writes the flags that were given, as the server's --config.
func writeServerConfig(flags *pflag.FlagSet, o *serverOptions, path string) error {
	values := map[string]any{"data-dir": o.dataDir, "repo": o.repo, "node-name": o.nodeName}
	if o.path != "" {
		values["path"] = o.path
	}
	var failed error
	server := pflag.NewFlagSet("server", pflag.ContinueOnError)
	new(serverOptions).flags(server)
	server.VisitAll(func(known *pflag.Flag) {
		f := flags.Lookup(known.Name)
		if _, done := values[f.Name]; done || !f.Changed {
			return
		}
		values[f.Name] = f.Value.String()
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values[f.Name] = list.GetSlice()
		}
	})
	for _, name := range []string{"git-token", "git-ca", "age-key"} {
		if file, ok := values[name].(string); ok {
			values[name], failed = filepath.Abs(file)
		}
	}
	level, err := flags.GetString("log-level")
	if err := errors.Join(failed, err); err != nil {
		return err
	}
	values["log-level"] = level
	text, err := yaml.Marshal(values)
	if err != nil {
		return err
	}
	return pki.WriteFile(path, text, 0o600)
}

// goOn tells where everything is and what to try next.
func (o *upOptions) goOn(w io.Writer, s service) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	config := filepath.Join(o.server.dataDir, adminConfig)
	_, err = fmt.Fprintf(w, `kubeconfig   %s
repository   %s
logs         %s

Go on with:
`, config, cmp.Or(o.server.repo, o.bundled()), s.Logs())
	if err != nil {
		return err
	}
	if o.server.dataDir != defaultDataDir {
		fmt.Fprintf(w, "  export KUBECONFIG=%s\n", config)
	}
	if o.server.path == hello.Path {
		fmt.Fprintf(w, `  git clone %s cluster && cd cluster
  sed -i 's/replicas: 2/replicas: 5/' apps/hello/deployment.yaml && git commit -am 'more hello' && git push
  %s wait HEAD
`, o.server.repo, program)
	}
	_, err = fmt.Fprintf(w, "  %[1]s status\n  %[1]s kubectl get pods -o wide\n", program)
	return err
}

var quiet = slog.New(slog.DiscardHandler)
