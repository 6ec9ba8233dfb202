package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/headway-sh/headway/gitsource/bundle"
	"github.com/headway-sh/headway/internal/printer"
)

// bundleCommand brings commits to clusters that reach no network.
func bundleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bundle",
		Short: "Bring a commit, with its history and images, to a cluster without a network",
		Long: `Bring a commit to a cluster that reaches no network: one signed file has its
history, the list of its objects and the images that they run.

  headway bundle keygen ~/bundle-key
  headway bundle create HEAD --images --key ~/bundle-key -o shop.bundle
  headway bundle apply shop.bundle --trusted-keys bundle-key.pub      (there)
  headway up --bundle shop.bundle --trusted-keys bundle-key.pub       (on a machine with nothing)`,
	}
	cmd.AddCommand(bundleKeygenCommand(), bundleCreateCommand(), bundleInspectCommand(), bundleVerifyCommand(), bundleApplyCommand())
	return cmd
}

func bundleKeygenCommand() *cobra.Command {
	var comment string
	cmd := &cobra.Command{
		Use:   "keygen FILE",
		Short: "Make a key that signs bundles: FILE, and FILE.pub for those who are to trust it",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			private, public, err := bundle.NewKey(comment)
			if err != nil {
				return err
			}
			for _, half := range []struct {
				path    string
				content []byte
				mode    os.FileMode
			}{{args[0], private, 0o600}, {args[0] + ".pub", public, 0o644}} {
				if err := newFile(half.path, half.content, half.mode); err != nil {
					return err
				}
			}
			_, err = cmd.OutOrStdout().Write(public)
			return err
		},
	}
	host, err := os.Hostname()
	if err != nil {
		host = "headway"
	}
	cmd.Flags().StringVar(&comment, "comment", "bundles@"+host, "whose key it is, for people")
	return cmd
}

// newFile writes a file that must not be there yet.
func newFile(path string, content []byte, mode os.FileMode) error {
	f, err := os.OpenFile(filepath.Clean(path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// trustFlags say whose bundles are believed.
type trustFlags struct {
	keys     string
	unsigned bool
}

func (f *trustFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.keys, "trusted-keys", "", "file with the public keys whose bundles are believed: lines as in FILE.pub, or allowed signers as ssh-keygen(1) has them")
	cmd.Flags().BoolVar(&f.unsigned, "insecure-unsigned", false, "believe the bundle whoever has made it")
}

// check says who has signed a bundle, and refuses what nobody has who may.
func (f *trustFlags) check(b *bundle.Bundle) (signer string, err error) {
	if f.unsigned {
		return "", nil
	}
	if f.keys == "" {
		return "", errors.New("whose bundles are believed? Name their public keys with --trusted-keys, or believe anybody with --insecure-unsigned")
	}
	text, err := os.ReadFile(f.keys)
	if err != nil {
		return "", fmt.Errorf("--trusted-keys: %w", err)
	}
	trusted, err := bundle.ParseTrusted(text)
	if err != nil {
		return "", fmt.Errorf("--trusted-keys: %s: %w", f.keys, err)
	}
	if signer, err = b.CheckSignature(trusted, time.Now()); err != nil {
		return "", exitCode{exitRejected, err}
	}
	return signer, nil
}

// readBundle is a bundle that has been read to its end.
type readBundle struct {
	*bundle.Bundle
	*bundle.Contents
	signer  string
	scratch string
	history string // a copy of its own
}

// readBundleFile checks all of a bundle, the signature first. The caller closes
// it.
func readBundleFile(ctx context.Context, path string, trust *trustFlags) (*readBundle, error) {
	b, err := bundle.Open(path)
	if err != nil {
		return nil, err
	}
	out := &readBundle{Bundle: b}
	if trust != nil {
		if out.signer, err = trust.check(b); err != nil {
			return nil, err
		}
	}
	if out.scratch, err = os.MkdirTemp("", "headway-bundle-"); err != nil {
		return nil, err
	}
	if err := out.read(ctx); err != nil {
		return nil, errors.Join(err, out.close())
	}
	return out, nil
}

func (b *readBundle) read(ctx context.Context) error {
	b.history = filepath.Join(b.scratch, "history.bundle")
	f, err := os.Create(b.history)
	if err != nil {
		return err
	}
	b.Contents, err = b.Verify(ctx, f)
	return errors.Join(err, f.Close())
}

func (b *readBundle) close() error {
	if b == nil {
		return nil
	}
	return os.RemoveAll(b.scratch)
}

// without tells that there are no images, or no bundle.
func (b *readBundle) without() bool { return b == nil || len(b.Images) == 0 }

// bundleInfo is what `headway bundle inspect` shows.
type bundleInfo struct {
	Commit  string          `json:"commit"`
	Since   string          `json:"since,omitempty"`
	Subject string          `json:"subject,omitempty"`
	Source  string          `json:"source"`
	Branch  string          `json:"branch"`
	Made    time.Time       `json:"made"`
	Signed  bool            `json:"signed"`
	Signer  string          `json:"signer,omitempty"`
	Size    int64           `json:"size"`
	Objects []bundle.Object `json:"objects"`
	Images  []bundledImage  `json:"images"`
	Needs   int             `json:"neededBlobs,omitempty"`
}

// bundledImage is an image in a bundle.
type bundledImage struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

func (b *readBundle) info() bundleInfo {
	m := b.Manifest
	out := bundleInfo{
		Commit: m.Commit, Since: m.Since, Subject: m.Subject, Source: m.Source.Name, Branch: m.Source.Branch, Made: m.Made,
		Signed: b.IsSigned(), Signer: b.signer, Size: m.Size(), Objects: b.Objects, Images: []bundledImage{}, Needs: len(b.Needs),
	}
	for _, i := range b.Images {
		out.Images = append(out.Images, bundledImage{i.Name, i.Target.Digest.String()})
	}
	return out
}

func (i bundleInfo) result() printer.Result {
	r := printer.Result{Object: i, Names: []string{i.Commit}}
	r.Text = func(w io.Writer, wide bool) error {
		signed := cmp.Or(i.Signer, "yes, by whom is not checked")
		if !i.Signed {
			signed = "no"
		}
		rows := [][]string{
			{"COMMIT", i.Commit}, {"SUBJECT", i.Subject}, {"SINCE", cmp.Or(i.Since, "the beginning")}, {"SOURCE", i.Source + ", branch " + i.Branch},
			{"MADE", i.Made.Local().Format(time.DateTime)}, {"SIGNED", signed},
			{"SIZE", byteCount(i.Size)}, {"OBJECTS", fmt.Sprint(len(i.Objects))}, {"IMAGES", fmt.Sprint(len(i.Images))},
		}
		if err := printer.Rows(w, rows); err != nil {
			return err
		}
		return i.lists(w, wide)
	}
	return r
}

func (i bundleInfo) lists(w io.Writer, wide bool) error {
	if len(i.Images) > 0 {
		rows := [][]string{{"IMAGE", "DIGEST"}}
		for _, one := range i.Images {
			rows = append(rows, []string{one.Name, one.Digest})
		}
		fmt.Fprintln(w)
		if err := printer.Rows(w, rows); err != nil {
			return err
		}
	}
	if !wide {
		return nil
	}
	rows := [][]string{{"OBJECT", "NAMESPACE", "NAME", "ORIGIN"}}
	for _, o := range i.Objects {
		rows = append(rows, []string{o.Kind, o.Namespace, o.Name, o.Origin})
	}
	fmt.Fprintln(w)
	return printer.Rows(w, rows)
}

// byteCount is a size as people read it.
func byteCount(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	size, unit := float64(n)/(1<<10), 0
	for size >= 1<<10 && unit < 3 {
		size /= 1 << 10
		unit++
	}
	return fmt.Sprintf("%.1f %s", size, []string{"KiB", "MiB", "GiB", "TiB"}[unit])
}

func bundleInspectCommand() *cobra.Command {
	var output printer.Flag
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Show what a bundle has in it, and whether it is whole",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := readBundleFile(cmd.Context(), args[0], nil)
			if err != nil {
				return err
			}
			return errors.Join(printer.Print(cmd.OutOrStdout(), output.Format, b.info().result()), b.close())
		},
	}
	cmd.Flags().VarP(&output, "output", "o", "form of the result: json, yaml, wide or name")
	return cmd
}

func bundleVerifyCommand() *cobra.Command {
	var trust trustFlags
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check that a bundle is whole and made by somebody who is trusted",
		Long: `Check that a bundle is whole and made by somebody who is trusted. Exit status:
0 it is, 2 it is damaged, 4 nobody has signed it who may.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := readBundleFile(cmd.Context(), args[0], &trust)
			if err != nil {
				return err
			}
			b.told(args[0], progressOf(cmd))
			return b.close()
		},
	}
	trust.add(cmd)
	return cmd
}

// told says that a bundle is whole.
func (b *readBundle) told(path string, progress *printer.Progress) {
	by := ""
	if b.signer != "" {
		by = ", signed by " + b.signer
	}
	progress.Done("%s is whole: commit %.12s, %d objects, %d images%s", path, b.Manifest.Commit, len(b.Objects), len(b.Images), by)
}
