package kinds_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/kinds"
)

var update = flag.Bool("update", false, "write the golden parts of testdata anew")

// TestGolden takes each object of testdata/kinds through what a create does
// and compares the stored object and its table.
func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/kinds/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	table := newTable(t)
	seen := map[*kind.Kind]bool{}
	for _, file := range files {
		k, o := createdFrom(t, table, file)
		seen[k] = true
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			again := o.DeepCopyObject().(txn.Object)
			if k.Default != nil {
				k.Default(again)
			}
			if diff := diffObjects(o, again); diff != "" {
				t.Errorf("defaults are not settled at once (-once +twice):\n%s", diff)
			}
			checkGolden(t, k, o, file)
		})
	}
	for _, k := range table.All() {
		if !seen[k] {
			t.Errorf("%s: no golden object", k.GVK)
		}
	}
}

func checkGolden(t *testing.T, k *kind.Kind, o txn.Object, file string) {
	t.Helper()
	out, err := yaml.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := &txtar.Archive{Files: []txtar.File{archive.Files[0], {Name: "out.yaml", Data: out}, {Name: "table", Data: tableText(k, o)}}}
	if *update {
		if err := os.WriteFile(file, txtar.Format(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(txtar.Format(archive)), string(txtar.Format(got))); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// tableText shows columns and cells one below the other; wide ones are marked.
func tableText(k *kind.Kind, o txn.Object) []byte {
	var b bytes.Buffer
	for i, cell := range k.Row(o, goldenTime.Add(5*time.Minute)) {
		mark := ""
		if k.Columns[i].Priority > 0 {
			mark = " (wide)"
		}
		fmt.Fprintf(&b, "%s%s: %v\n", strings.ToUpper(k.Columns[i].Name), mark, cell)
	}
	return b.Bytes()
}

var goldenTime = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// createdFrom reads the input of a golden file and does to it what a create
// does: default, name, prepare, validate.
func createdFrom(t testing.TB, table *kinds.Table, file string) (*kind.Kind, txn.Object) {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var head struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal(archive.Files[0].Data, &head); err != nil {
		t.Fatal(err)
	}
	k, ok := table.ByGVK(schema.FromAPIVersionAndKind(head.APIVersion, head.Kind))
	if !ok {
		t.Fatalf("%s: no kind %s %s", file, head.APIVersion, head.Kind)
	}
	o := k.New()
	if err := yaml.UnmarshalStrict(archive.Files[0].Data, o); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	create(k, o)
	if errs := append(k.ValidateMeta(o, nil), check(k, o, nil)...); len(errs) > 0 {
		t.Fatalf("%s: %v", file, errs.ToAggregate())
	}
	if cells := len(k.Row(o, goldenTime)); cells != len(k.Columns) {
		t.Fatalf("%s: %d cells for %d columns", file, cells, len(k.Columns))
	}
	if _, err := json.Marshal(o); err != nil {
		t.Fatal(err)
	}
	return k, o
}
