package edit_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headway-sh/headway/gitsource/edit"
)

func TestApply(t *testing.T) {
	t.Parallel()
	const deployment = `# before
kind: Deployment # a kind
metadata: {name: web, labels: {app: "web"}}
spec:
  # how many
  replicas: 2   # enough
  selector:
    matchLabels:
      app: web

  template:
    spec:
      containers:
      - image: web:1
        name: web
        args: [a, 'b']
      # the other one
      - name: side
        image: 'side:1'
        command:
        - run
  text: |
    one
    two
---
kind: Other
`
	type edits = []edit.Change
	for name, tc := range map[string]struct {
		old     string
		line    int32
		changes edits
		from    string // in old
		to      string // in the result
	}{
		"a number":               {deployment, 2, edits{{"spec.replicas", int64(5)}}, "replicas: 2   # enough", "replicas: 5   # enough"},
		"a text in quotes":       {deployment, 2, edits{{`spec.template.spec.containers[name="side"].image`, "side:2"}}, "'side:1'", "'side:2'"},
		"in braces":              {deployment, 2, edits{{"metadata.labels.app", "shop"}}, `"web"`, `"shop"`},
		"one more in braces":     {deployment, 2, edits{{`metadata.labels["a.b/c"]`, "1"}}, `{app: "web"}`, `{app: "web", a.b/c: "1"}`},
		"one less in braces":     {deployment, 2, edits{{`metadata.labels`, nil}}, `, labels: {app: "web"}`, ``},
		"a new map":              {deployment, 2, edits{{"spec.strategy.type", "Recreate"}}, "    two\n", "    two\n  strategy:\n    type: Recreate\n"},
		"a new key":              {deployment, 2, edits{{"spec.selector.matchLabels.tier", "front"}}, "      app: web\n", "      app: web\n      tier: front\n"},
		"a list in brackets":     {deployment, 2, edits{{`spec.template.spec.containers[name="web"].args`, []any{"c"}}}, "[a, 'b']", "[c]"},
		"a list in lines":        {deployment, 2, edits{{`spec.template.spec.containers[name="side"].command`, []any{"run", "fast"}}}, "        - run\n", "        - run\n        - fast\n"},
		"a new item":             {deployment, 2, edits{{`spec.template.spec.containers[name="new"]`, map[string]any{"name": "new", "image": "n:1"}}}, "        - run\n", "        - run\n      - image: n:1\n        name: new\n"},
		"an item less":           {deployment, 2, edits{{`spec.template.spec.containers[name="side"]`, nil}}, "      - name: side\n        image: 'side:1'\n        command:\n        - run\n", ""},
		"a key beside the dash":  {deployment, 2, edits{{`spec.template.spec.containers[name="web"].image`, nil}}, "- image: web:1\n        name", "- name"},
		"a key less":             {deployment, 2, edits{{"spec.replicas", nil}}, "  replicas: 2   # enough\n", ""},
		"a text of lines":        {deployment, 2, edits{{"spec.text", "one\nthree\n"}}, "    two\n", "    three\n"},
		"a map becomes a scalar": {deployment, 2, edits{{"spec.selector", "x"}}, "selector:\n    matchLabels:\n      app: web\n", "selector: x\n"},
		"a scalar becomes a map": {deployment, 2, edits{{"spec.replicas", map[string]any{"a": int64(1)}}}, "replicas: 2   # enough", "replicas:\n    a: 1   # enough"},
		"another document":       {deployment, 26, edits{{"data.key", "v"}}, "kind: Other\n", "kind: Other\ndata:\n  key: v\n"},
		"two at once":            {deployment, 2, edits{{"spec.replicas", int64(3)}, {"spec.paused", true}}, "", ""},
		"an empty key":           {"kind: A\ndata:\n", 1, edits{{"data.key", "v"}}, "data:\n", "data:\n  key: v\n"},
		"no end of line":         {"kind: A\ndata: {}", 1, edits{{"data.key", "v"}}, "data: {}", "data: {key: v}"},
		"wide characters":        {"kind: A\ndata: {ключ: \"значение\", b: c}\n", 1, edits{{"data.b", "d"}}, "b: c", "b: d"},
		"what reads as a switch": {"kind: A\ndata: {a: b}\n", 1, edits{{"data.a", "yes"}}, "a: b", `a: "yes"`},
		"an item of a List":      {"kind: List\nitems:\n- kind: A\n  data: {a: b}\n- kind: B\n  data: {a: b} # B's\n", 5, edits{{"data.a", "c"}}, "{a: b} # B", "{a: c} # B"},
		"what is not there":      {deployment, 2, edits{{"spec.paused", nil}}, "kind: Other", "kind: Other"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := edit.Apply([]byte(tc.old), tc.line, tc.changes)
			if err != nil {
				t.Fatal(err)
			}
			want := replaceOnce(tc.old, tc.from, tc.to)
			if name == "two at once" {
				want = replaceOnce(replaceOnce(tc.old, "replicas: 2 ", "replicas: 3 "), "    two\n", "    two\n  paused: true\n")
			}
			if diff := cmp.Diff(want, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text, path string
		elsewhere  bool
	}{
		"an anchor":        {"kind: A\na: &x {b: c}\nd: *x\n", "d.b", true},
		"a variable":       {"kind: A\na: ${b}\n", "a", true},
		"an encrypted":     {"kind: A\na: ENC[AES256_GCM,data:x]\n", "a", true},
		"an empty map":     {"kind: A\na: {b: c}\n", "a.b.c.d", false},
		"a value of a set": {"kind: A\na: [b]\n", `a[="b"]`, false},
		"no object":        {"\n\nkind: A\n", "a", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := edit.Apply([]byte(tc.text), 1, []edit.Change{{tc.path, "new"}})
			if err == nil || errors.Is(err, edit.ErrElsewhere) != tc.elsewhere {
				t.Errorf("%v\n%s", err, got)
			}
		})
	}
}

func FuzzApply(f *testing.F) {
	f.Add("kind: A\nspec:\n  a: 1\n", "spec.a")
	f.Add("kind: A\nspec: {a: [b, {c: d}]}\n", "spec.a[1].c")
	f.Fuzz(func(_ *testing.T, text, path string) {
		// Whatever comes out reads back as what was asked for, or is refused.
		_, _ = edit.Apply([]byte(text), 1, []edit.Change{{Path: path, Value: "new"}})
	})
}

func replaceOnce(text, from, to string) string {
	for i := 0; i+len(from) <= len(text); i++ {
		if text[i:i+len(from)] == from {
			return text[:i] + to + text[i+len(from):]
		}
	}
	return text
}
