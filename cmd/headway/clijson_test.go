package main

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

var update = flag.Bool("update", false, "write the documents anew")

const cliJSON = "../../docs/cli-json.md"

// shapes are what the verbs print with -o json.
var shapes = []struct {
	verbs  string
	object any
}{
	{"status", clusterState{}}, {"plan, diff [REF]", v1alpha1.PlanStatus{}}, {"diff A B", commitDiff{}}, {"vet", verdicts{}},
	{"blame", blamed{}}, {"adopt", adopted{}}, {"trace", traced{}}, {"tree", sourceTree{}}, {"get unmanaged", unmanagedList{}}, {"get previews", previewList{}}, {"bundle inspect", bundleInfo{}},
}

// TestJSONIsDocumented: what scripts read does not change unnoticed.
func TestJSONIsDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(cliJSON)
	ok(t, err)
	head, _, found := strings.Cut(string(text), "\n## ")
	if !found {
		t.Fatalf("%s has no part for the verbs", cliJSON)
	}
	var b strings.Builder
	b.WriteString(head)
	for _, s := range shapes {
		fmt.Fprintf(&b, "\n## %s\n\n```\n", s.verbs)
		describeType(&b, reflect.TypeOf(s.object), "", nil)
		b.WriteString("```\n")
	}
	if *update {
		ok(t, os.WriteFile(cliJSON, []byte(b.String()), 0o644))
		return
	}
	if diff := cmp.Diff(string(text), b.String()); diff != "" {
		t.Errorf("what the verbs print is not as documented; a new field is fine with -update (-documented +printed):\n%s", diff)
	}
}

// describeType writes a line for each field.
func describeType(b *strings.Builder, t reflect.Type, path string, above []reflect.Type) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[time.Time](), t == reflect.TypeFor[metav1.Time]():
		fmt.Fprintf(b, "%s  time\n", path)
	case reflect.PointerTo(t).Implements(reflect.TypeFor[fmt.Stringer]()) && t.PkgPath() == "k8s.io/apimachinery/pkg/api/resource":
		fmt.Fprintf(b, "%s  quantity\n", path)
	case t.Kind() == reflect.Slice:
		describeType(b, t.Elem(), path+"[]", above)
	case t.Kind() != reflect.Struct:
		word := strings.TrimSuffix(strings.TrimSuffix(t.Kind().String(), "32"), "64")
		if word == "interface" {
			word = "any"
		}
		fmt.Fprintf(b, "%s  %s\n", path, word)
	default:
		for _, outer := range above {
			if outer == t {
				fmt.Fprintf(b, "%s  as above\n", path)
				return
			}
		}
		for i := range t.NumField() {
			f := t.Field(i)
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if !f.IsExported() || name == "-" || name == "" {
				continue
			}
			if strings.Contains(options, "omit") {
				name += "?"
			}
			describeType(b, f.Type, strings.TrimPrefix(path+"."+name, "."), append(above, t))
		}
	}
}
