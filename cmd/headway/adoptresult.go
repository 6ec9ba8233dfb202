package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/headway-sh/headway/internal/printer"
)

// fieldLines says what is changed, one field a line.
func (a *adopted) fieldLines() string {
	var b strings.Builder
	for _, f := range a.Fields {
		fmt.Fprintf(&b, "%s: %s → %s\n", f.Path, cmp.Or(f.Before, "(none)"), cmp.Or(f.After, "(none)"))
	}
	return b.String()
}

func (a *adopted) result() printer.Result {
	return printer.Result{
		Object: a, Names: []string{a.Branch},
		Text: func(w io.Writer, _ bool) error {
			_, err := fmt.Fprintf(w, "%s  (%s)\n%s", a.Object, a.File, a.fieldLines())
			return err
		},
	}
}

// compact is a value as reports show it.
func compact(v any) string {
	if v == nil {
		return ""
	}
	text, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return string(text)
}
