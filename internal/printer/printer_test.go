package printer_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headway-sh/headway/internal/printer"
)

func TestPrintInEveryForm(t *testing.T) {
	t.Parallel()
	result := printer.Result{
		Object: map[string]any{"name": "main"}, Names: []string{"gitsource/main"},
		Text: func(w io.Writer, wide bool) error {
			return printer.Rows(w, [][]string{{"NAME", "WIDE"}, {"a\x1b[2Jb", fmt.Sprint(wide)}, {"", "x"}})
		},
	}
	for word, want := range map[string]string{
		"json":  "{\n  \"name\": \"main\"\n}\n",
		"yaml":  "name: main\n",
		"name":  "gitsource/main\n",
		"wide":  "NAME     WIDE\na [2Jb   true\n-        x\n",
		"table": "NAME     WIDE\na [2Jb   false\n-        x\n",
	} {
		var f printer.Flag
		if err := f.Set(word); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := printer.Print(&out, f.Format, result); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("-o %s (-want +got):\n%s", word, diff)
		}
	}
	var f printer.Flag
	if err := f.Set("xml"); err == nil {
		t.Error("-o xml was accepted")
	}
}

func TestProgressFollowsTheLocale(t *testing.T) {
	t.Parallel()
	for lang, want := range map[string]string{"C": "ok ready\n", "en_US.UTF-8": "✔ ready\n"} {
		var out bytes.Buffer
		printer.NewProgress(&out, func(name string) string { return map[string]string{"LANG": lang}[name] }).Done("ready")
		if out.String() != want {
			t.Errorf("LANG=%s: %q, want %q", lang, out.String(), want)
		}
	}
}
