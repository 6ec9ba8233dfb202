package render_test

import (
	"testing"

	"github.com/headway-sh/headway/gitsource/render"
)

// FuzzParse: whatever a file has in it, reading it ends, and a file that is not
// empty gives objects or says what is wrong.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{object, "a: &a [*a]\n", "<<: {a: b}\n", "- 1\n---\n...\n", "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{}]}", "\x00", "? [a]\n: b\n", "a: !!binary x\n", "!!map [a]"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) > 1<<16 {
			t.Skip("a file of this size only takes time")
		}
		objects, problems := render.Parses("x.yaml", content)
		again, problemsAgain := render.Parses("x.yaml", content)
		if objects != again || problems != problemsAgain {
			t.Errorf("read twice, it gives %d objects and %d problems, then %d and %d", objects, problems, again, problemsAgain)
		}
	})
}
