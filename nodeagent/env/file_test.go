package env_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headway-sh/headway/nodeagent/env"
)

func TestParseFile(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]any{
		"":                                map[string]string{},
		"A='x'":                           map[string]string{"A": "x"},
		"# note\n\n  A = 'x'  \nB='#y'\n": map[string]string{"A": "x", "B": "#y"},
		"A='one\ntwo $X \\n'\nB=''":       map[string]string{"A": "one\ntwo $X \\n", "B": ""},
		"A='1'\r\nA='2'\r\n":              map[string]string{"A": "2"},
		"A=x":                             "not in single quotes",
		"A=\"x\"":                         "not in single quotes",
		"A='x''y'":                        "something follows",
		"\n\nA='x'$B":                     "line 3: something follows",
		"A='x":                            "does not end",
		"nonsense":                        "line 1: not of the form",
		"='x'":                            "line 1: not of the form",
		"B='1\n2'\nA":                     "line 3: not of the form",
	} {
		got, err := env.ParseFile(text)
		switch want := want.(type) {
		case string:
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: error %v, want %s", text, err, want)
			}
		default:
			if diff := cmp.Diff(want, any(got)); err != nil || diff != "" {
				t.Errorf("%q: %v (-want +got):\n%s", text, err, diff)
			}
		}
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add("A='x'\n# y\nB = 'z\nz'")
	f.Add("A='x''")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := env.ParseFile(text)
		if err != nil {
			return
		}
		var b strings.Builder
		for name, value := range all {
			b.WriteString(name + "='" + value + "'\n")
		}
		again, err := env.ParseFile(b.String())
		if diff := cmp.Diff(all, again); err != nil || diff != "" {
			t.Errorf("%q is not read back: %v\n%s", b.String(), err, diff)
		}
	})
}
