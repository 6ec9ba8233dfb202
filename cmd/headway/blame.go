package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/blame"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/repo"
	"github.com/headway-sh/headway/internal/printer"
)

// blameCommand says who has written each field, in git and in the cluster.
func blameCommand() *cobra.Command {
	var flags gitObjectFlags
	var all bool
	var output printer.Flag
	cmd := &cobra.Command{
		Use:   "blame KIND/NAME",
		Short: "Show who has written each field of an object, in git and in the cluster",
		Long: `Show the fields of an object that git says, each with its line, the commit and
the author of that line, and with who writes it in the cluster; and those that
people have written in the cluster and git says nothing of. Run it in a clone of
the source's repository, or name one with -C. The live writer is a program's field
manager, and who used it, where the source has seen that.

Of an object that kustomize or a chart has made, the line is where the object
begins, marked with "~". Exit status: 0 the cluster is as git says, 1 a field has
drifted.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := userCluster(cmd)
			if err != nil {
				return err
			}
			o, err := flags.open(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			defer func() { _ = o.repo.Close() }() // only read from
			b, err := o.blame(cmd.Context(), all)
			if err != nil {
				return err
			}
			if err := printer.Print(cmd.OutOrStdout(), output.Format, b.result()); err != nil {
				return err
			}
			for _, f := range b.Fields {
				if f.Drifted {
					return exitCode{code: exitDiffers}
				}
			}
			return nil
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "also what the cluster's own controllers have written")
	cmd.Flags().VarP(&output, "output", "o", "form of the result: json, yaml, wide or name")
	return cmd
}

// blamed is what `headway blame` shows.
type blamed struct {
	Object string        `json:"object"`
	Source string        `json:"source"`
	Commit string        `json:"commit"`
	Origin string        `json:"origin"`
	Chain  []string      `json:"chain,omitempty"`
	Fields []blamedField `json:"fields"`
}

// blamedField is one field of it.
type blamedField struct {
	Path    string         `json:"path"`
	Git     any            `json:"git,omitempty"`
	Live    any            `json:"live,omitempty"`
	Drifted bool           `json:"drifted,omitempty"`
	Line    *blamedLine    `json:"line,omitempty"` // nil: git says nothing
	Writers []blame.Writer `json:"writers,omitempty"`
}

// blamedLine is who has written a line of a file.
type blamedLine struct {
	File   string    `json:"file"`
	Line   int32     `json:"line"`
	Exact  bool      `json:"exact"` // the line is the field's own
	Commit string    `json:"commit,omitempty"`
	Author string    `json:"author,omitempty"`
	Time   time.Time `json:"time,omitzero"`
}

func (o *gitObject) blame(ctx context.Context, all bool) (*blamed, error) {
	if o.live == nil {
		o.live = &unstructured.Unstructured{Object: map[string]any{}} // all of it has drifted
	}
	fields, err := blame.Fields(plan.Manager(o.source), o.desired.Body, o.live, true)
	if err != nil {
		return nil, err
	}
	blame.Name(fields, o.named.ref.String(), o.seen)
	lines, err := o.repo.Blame(ctx, o.commit, o.desired.File)
	if err != nil {
		return nil, err
	}
	out := &blamed{Object: o.named.ref.String(), Source: o.source, Commit: o.commit.String(), Origin: o.desired.Origin(), Chain: o.desired.Chain, Fields: []blamedField{}}
	secret := o.named.gvk.Group == "" && o.named.gvk.Kind == "Secret"
	for _, f := range fields {
		people := slices.ContainsFunc(f.Writers, func(w blame.Writer) bool { return byPeople(w.Manager) })
		if f.Git == nil && !people && !all {
			continue
		}
		one := blamedField{Path: f.Path, Git: f.Git, Live: f.Live, Drifted: f.Drifted, Writers: f.Writers}
		if f.Git != nil {
			one.Line = o.line(f.Path, lines)
		}
		if secret && (strings.HasPrefix(f.Path, "data") || strings.HasPrefix(f.Path, "stringData")) {
			one.Git, one.Live = hidden(f.Git), hidden(f.Live)
		}
		out.Fields = append(out.Fields, one)
	}
	return out, nil
}

func hidden(v any) any {
	if v == nil {
		return nil
	}
	return "***"
}

func (o *gitObject) line(path string, lines []*repo.Commit) *blamedLine {
	at := &blamedLine{File: o.desired.File}
	at.Line, at.Exact = o.set.Place(o.desired, path)
	if n := int(at.Line); n > 0 && n <= len(lines) {
		c := lines[n-1]
		at.Commit, at.Author, at.Time = c.ID.String(), c.Author, c.Time
	}
	return at
}

func (b *blamed) result() printer.Result {
	r := printer.Result{Object: b}
	for _, f := range b.Fields {
		r.Names = append(r.Names, f.Path)
	}
	r.Text = func(w io.Writer, wide bool) error {
		rows := [][]string{{"FIELD", "VALUE", "FILE:LINE", "COMMIT", "AUTHOR", "AGE", "LIVE WRITER"}}
		for _, f := range b.Fields {
			row := []string{f.Path, f.value(wide), "not in git", "", "", "", f.writers()}
			if l := f.Line; l != nil {
				row[2], row[3], row[4], row[5] = v1alpha1.Origin(l.File, l.Line), fmt.Sprintf("%.12s", l.Commit), authorName(l.Author, wide), age(&l.Time)
				if !l.Exact {
					row[2] = "~" + row[2]
				}
			}
			rows = append(rows, row)
		}
		if err := printer.Rows(w, rows); err != nil || len(b.Chain) == 0 {
			return err
		}
		_, err := fmt.Fprintf(w, "\nshaped by %s\n", strings.Join(b.Chain, ", "))
		return err
	}
	return r
}

// shownValue is how much of a value a table shows.
const shownValue = 40

// value is the live one, with git's where it is another.
func (f *blamedField) value(wide bool) string {
	show := func(v any) string {
		if v == nil {
			return "(none)"
		}
		text, err := json.Marshal(v)
		if err != nil {
			return "?"
		}
		if len(text) > shownValue && !wide {
			return strings.ToValidUTF8(string(text[:shownValue]), "") + "…"
		}
		return string(text)
	}
	if f.Drifted {
		return show(f.Live) + " (git: " + show(f.Git) + ")"
	}
	return show(f.Live)
}

func (f *blamedField) writers() string {
	var out []string
	for _, w := range f.Writers {
		text := w.Manager
		if w.User != "" {
			text = w.User + " with " + w.Manager
		}
		if w.Time != nil {
			text += " (" + age(w.Time) + ")"
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

// authorName is the name alone, unless there is room.
func authorName(author string, wide bool) string {
	name, _, _ := strings.Cut(author, " <")
	if wide || name == "" {
		return author
	}
	return name
}
