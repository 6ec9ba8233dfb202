package printer

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"sigs.k8s.io/yaml"
)

// Format is a value of -o.
type Format string

// The formats; Table is the default.
const (
	Table Format = ""
	Wide  Format = "wide"
	JSON  Format = "json"
	YAML  Format = "yaml"
	Name  Format = "name"
)

var formats = []Format{Wide, JSON, YAML, Name}

// Flag makes Format a value for the command line.
type Flag struct{ Format Format }

// String gives the format's word.
func (f *Flag) String() string { return string(f.Format) }

// Type is what help calls the value.
func (f *Flag) Type() string { return "format" }

// Set takes a word of the command line.
func (f *Flag) Set(text string) error {
	if text == "table" {
		text = ""
	}
	if text != "" && !slices.Contains(formats, Format(text)) {
		return fmt.Errorf("%q is not one of json, yaml, wide, name", text)
	}
	f.Format = Format(text)
	return nil
}

// Result is what a verb found, in every form.
type Result struct {
	// Object is what json and yaml show.
	Object any
	// Names is what name shows, one a line.
	Names []string
	// Text writes what people read; wide asks for more of it.
	Text func(w io.Writer, wide bool) error
}

// Print writes a result.
func Print(w io.Writer, format Format, r Result) error {
	switch format {
	case JSON:
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r.Object)
	case YAML:
		text, err := yaml.Marshal(r.Object)
		if err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	case Name:
		for _, n := range r.Names {
			if _, err := fmt.Fprintln(w, n); err != nil {
				return err
			}
		}
		return nil
	}
	return r.Text(w, format == Wide)
}

// Rows writes a table: the first row is its head.
func Rows(w io.Writer, rows [][]string) error {
	out := tabwriter.NewWriter(w, 0, 8, 3, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = cmp.Or(Clean(cell), "-")
		}
		if _, err := fmt.Fprintln(out, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return out.Flush()
}

// Clean keeps a text on its line and out of the terminal's control.
func Clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}
