package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headway-sh/headway/internal/printer"
	"github.com/headway-sh/headway/nodeagent/logkeeper"
	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/runtime/containerd"
)

// imageCommand is about the images on this machine's node.
func imageCommand() *cobra.Command {
	image := &cobra.Command{Use: "image", Short: "Load, list and remove images on this machine's node"}
	var dataDir, endpoint string
	image.PersistentFlags().StringVar(&dataDir, "data-dir", defaultDataDir, "the node's data directory")
	image.PersistentFlags().StringVar(&endpoint, "runtime-endpoint", "", "socket of a running containerd (default: the node's own)")
	with := func(cmd *cobra.Command, f func(*containerd.Runtime) error) error {
		path, err := filepath.Abs(dataDir)
		if err != nil {
			return err
		}
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("there is no node here: %w; name its directory with --data-dir", err)
		}
		r, err := nodeTools(path, endpoint, defaultCgroup).openRuntime(cmd.Context(), false)
		if err != nil {
			return err
		}
		return errors.Join(f(r), r.Close())
	}
	load := &cobra.Command{
		Use: "load FILE.tar...", Short: "Load images from OCI layouts or docker archives; - is standard input", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return with(cmd, func(r *containerd.Runtime) error { return loadArchives(cmd, r, args) })
		},
	}
	var output printer.Flag
	list := &cobra.Command{
		Use: "list", Short: "List the images", Aliases: []string{"ls"}, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return with(cmd, func(r *containerd.Runtime) error { return listImages(cmd, r, output.Format) })
		},
	}
	list.Flags().VarP(&output, "output", "o", "form of the result: json, yaml, wide or name")
	prune := &cobra.Command{
		Use: "prune", Short: "Remove the images that no container uses", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return with(cmd, func(r *containerd.Runtime) error { return pruneImages(cmd, r) })
		},
	}
	image.AddCommand(load, list, prune)
	return image
}

// nodeTools is a node as the tools on its machine use it.
func nodeTools(dataDir, endpoint, group string) *nodeProcess {
	return &nodeProcess{dirs: nodeDirs{dataDir}, nodeOptions: nodeOptions{runtimeEndpoint: endpoint, cgroup: group, log: quiet}}
}

// openRuntime connects to the node's containerd; start makes sure that one
// runs, where the node has its own.
func (n *nodeProcess) openRuntime(ctx context.Context, start bool) (*containerd.Runtime, error) {
	endpoint := n.runtimeEndpoint
	if endpoint == "" {
		process, err := newContainerd(n.dirs, n.cgroup, n.log)
		if err != nil {
			return nil, err
		}
		if start {
			if err := process.Start(ctx); err != nil {
				return nil, fmt.Errorf("start containerd: %w", err)
			}
		}
		endpoint = process.Socket()
	}
	if _, err := os.Stat(endpoint); err != nil {
		return nil, fmt.Errorf("the node's containerd does not run: %w", err)
	}
	return containerd.New(containerd.Config{
		Address: endpoint, RunDir: n.dirs.run(), Keeper: logkeeper.NewClient(logkeeper.Socket(n.dirs.logkeeper())), Log: n.log,
	})
}

func loadArchives(cmd *cobra.Command, r *containerd.Runtime, files []string) error {
	for _, file := range files {
		names, err := importArchive(cmd.Context(), r, file)
		if err != nil {
			return err
		}
		for _, name := range names {
			fmt.Fprintln(cmd.OutOrStdout(), name)
		}
	}
	return nil
}

// importArchive loads one archive and gives the names in it.
func importArchive(ctx context.Context, r *containerd.Runtime, file string) ([]string, error) {
	var from io.Reader = os.Stdin
	if file != "-" {
		f, err := os.Open(filepath.Clean(file))
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from = f
	}
	images, err := r.Import(ctx, from)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var names []string
	for _, i := range images {
		names = append(names, imageNames(i)...)
	}
	return names, nil
}

// imageNames are the tags of an image; one without any is called by its ID.
func imageNames(i runtime.Image) []string {
	names := slices.DeleteFunc(slices.Clone(i.References), func(ref string) bool { return strings.Contains(ref, "@") })
	if len(names) == 0 {
		return []string{i.ID}
	}
	return names
}

func listImages(cmd *cobra.Command, r *containerd.Runtime, format printer.Format) error {
	images, err := r.ListImages(cmd.Context())
	if err != nil {
		return err
	}
	type row struct {
		Name string   `json:"name"`
		ID   string   `json:"id"`
		Size int64    `json:"size"`
		Also []string `json:"references,omitempty"`
	}
	rows := []row{}
	result := printer.Result{}
	for _, i := range images {
		for _, name := range imageNames(i) {
			rows = append(rows, row{name, i.ID, i.Size, i.References})
			result.Names = append(result.Names, name)
		}
	}
	result.Object = rows
	result.Text = func(w io.Writer, wide bool) error {
		cells := [][]string{{"NAME", "ID", "SIZE"}}
		for _, one := range rows {
			id := one.ID
			if digest := strings.TrimPrefix(id, "sha256:"); !wide {
				id = digest[:min(len(digest), 12)]
			}
			cells = append(cells, []string{one.Name, id, byteCount(one.Size)})
		}
		return printer.Rows(w, cells)
	}
	return printer.Print(cmd.OutOrStdout(), format, result)
}

func pruneImages(cmd *cobra.Command, r *containerd.Runtime) error {
	_, containers, err := r.List(cmd.Context())
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, c := range containers {
		used[c.ImageID], used[c.ImageRef] = true, true
	}
	images, err := r.ListImages(cmd.Context())
	if err != nil {
		return err
	}
	for _, i := range images {
		if used[i.ID] || slices.ContainsFunc(i.References, func(ref string) bool { return used[ref] }) {
			continue
		}
		if err := r.RemoveImage(cmd.Context(), i.ID); err != nil {
			return err
		}
		for _, name := range imageNames(i) {
			fmt.Fprintln(cmd.OutOrStdout(), name)
		}
	}
	return nil
}
