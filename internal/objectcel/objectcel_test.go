package objectcel_test

import (
	"strings"
	"testing"

	"github.com/headway-sh/headway/internal/objectcel"
)

func TestEval(t *testing.T) {
	t.Parallel()
	object := map[string]any{
		"kind":   "Boat",
		"spec":   map[string]any{"length": int64(7)},
		"status": map[string]any{"conditions": []any{map[string]any{"type": "Afloat", "status": "True"}}},
	}
	for _, test := range []struct {
		name, expression string
		want             bool
		err              string // part of the error of Eval
	}{
		{"field", `object.spec.length == 7`, true, ""},
		{"conditions", `object.status.conditions.exists(c, c.type == "Afloat" && c.status == "True")`, true, ""},
		{"false", `object.kind == "Car"`, false, ""},
		{"absent field", `object.status.phase == "Done"`, false, "no such key"},
		{"optional field", `object.?status.?phase.orValue("") == "Done"`, false, ""},
		{"string functions", `object.kind.lowerAscii() == "boat"`, true, ""},
		{"not a boolean", `object.spec.length`, false, "not bool"},
		{"too costly", `[0,1,2,3,4,5,6,7,8,9].all(a, [0,1,2,3,4,5,6,7,8,9].all(b, [0,1,2,3,4,5,6,7,8,9].all(c, [0,1,2,3,4,5,6,7,8,9].all(d, [0,1,2,3,4,5,6,7,8,9].all(e, [0,1,2,3,4,5,6,7,8,9].all(f, a + b + c + d + e + f >= 0))))))`, false, "cost limit"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, err := objectcel.Compile(test.expression)
			if err != nil {
				t.Fatal(err)
			}
			got, err := p.Eval(object)
			if got != test.want || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("%v, %v; want %v, %q", got, err, test.want, test.err)
			}
		})
	}
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]string{
		`object.kind ==`:    "Syntax error",
		`objekt.kind == ""`: "undeclared reference to 'objekt'",
		`"a" + "b"`:         "must give bool",
	} {
		if _, err := objectcel.Compile(expression); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", expression, err, want)
		}
	}
}
