package blame

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/headway-sh/headway/gitsource/drift"
)

// Writer is a field manager and when it wrote last.
type Writer struct {
	Manager   string     `json:"manager"`
	Operation string     `json:"operation"`
	Time      *time.Time `json:"time,omitempty"`
	// User is who used the manager, where the source has seen him do it.
	User string `json:"user,omitempty"`
}

// Field is one field that git says, or that somebody else has written.
type Field struct {
	// Path as `spec.containers[name="web"].image`.
	Path string
	// Git is the value in git, nil where it says nothing.
	Git any
	// Live is the value in the cluster, nil where there is none.
	Live any
	// Writers own the field, the newest last.
	Writers []Writer
	// Drifted says that git says something and somebody else has changed it.
	Drifted bool
}

// Fields lists the fields that git says, in the order of their paths, and with
// others also those that it does not and that have a writer. Manager is the
// field manager that writes what git says; what it owns is as git has it,
// however the API server spells it.
func Fields(manager string, git, live *unstructured.Unstructured, others bool) ([]Field, error) {
	tree, err := ownership(live.GetManagedFields())
	if err != nil {
		return nil, fmt.Errorf("read managed fields of %s: %w", live.GetName(), err)
	}
	w := walk{manager: manager, others: others}
	w.value(tree, nil, git.Object, live.Object, "")
	return w.found, nil
}

// node is a field in the joined managed fields of all writers.
type node struct {
	below   map[string]*node
	writers []Writer
}

// ownership joins the managed fields of all writers, without the status.
func ownership(entries []metav1.ManagedFieldsEntry) (*node, error) {
	root := &node{}
	for _, e := range entries {
		if e.Subresource == "status" || e.FieldsV1 == nil {
			continue
		}
		encoded, err := json.Marshal(e.FieldsV1)
		if err != nil {
			return nil, err
		}
		var set map[string]any
		if err := json.Unmarshal(encoded, &set); err != nil {
			return nil, err
		}
		w := Writer{Manager: e.Manager, Operation: string(e.Operation)}
		if e.Time != nil {
			w.Time = &e.Time.Time
		}
		root.add(set, w)
	}
	return root, nil
}

func (n *node) add(set map[string]any, w Writer) {
	if len(set) == 0 {
		n.writers = append(n.writers, w)
		return
	}
	for key, below := range set {
		if key == "." {
			continue
		}
		if n.below == nil {
			n.below = map[string]*node{}
		}
		if n.below[key] == nil {
			n.below[key] = &node{}
		}
		inner, _ := below.(map[string]any)
		if len(inner) == 1 && inner["."] != nil {
			inner = nil // a map or an item that is there, and nothing in it
		}
		n.below[key].add(inner, w)
	}
}

// walk goes along git, the live object and the ownership at once.
type walk struct {
	manager string
	others  bool
	found   []Field
}

// identity is what an object is called: nobody wrote that.
var identity = []string{"apiVersion", "kind", "metadata.name", "metadata.namespace"}

func (w *walk) value(n *node, writers []Writer, git, live any, path string) {
	if n == nil {
		n = &node{}
	}
	if len(n.writers) > 0 {
		writers = n.writers
	}
	switch g := git.(type) {
	case map[string]any:
		if len(g) > 0 {
			w.mapping(n, writers, g, live, path)
			return
		}
	case []any:
		if len(g) > 0 && w.list(n, writers, g, live, path) {
			return
		}
	case nil:
		if !w.others {
			return
		}
		if len(n.below) > 0 {
			w.below(n, writers, nil, live, path, nil)
			return
		}
		if len(writers) == 0 {
			return
		}
	}
	w.leaf(writers, git, live, path)
}

func (w *walk) mapping(n *node, writers []Writer, git map[string]any, live any, path string) {
	keys := map[string]bool{}
	for k := range git {
		keys["f:"+k] = true
	}
	w.below(n, writers, git, live, path, keys)
}

// below visits the children of a value that have a name of their own.
func (w *walk) below(n *node, writers []Writer, git, live any, path string, keys map[string]bool) {
	if keys == nil {
		keys = map[string]bool{}
	}
	for k := range n.below {
		keys[k] = true
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		g, name := drift.Step(key, git)
		l, _ := drift.Step(key, live)
		w.value(n.below[key], writers, g, l, path+name)
	}
}

// list visits the items of a list whose items have names; it tells whether it
// is such a list.
func (w *walk) list(n *node, writers []Writer, git []any, live any, path string) bool {
	seen := 0
	for _, key := range slices.Sorted(maps.Keys(n.below)) {
		if !strings.HasPrefix(key, "k:") && !strings.HasPrefix(key, "v:") {
			continue
		}
		seen++
		g, name := drift.Step(key, git)
		l, _ := drift.Step(key, live)
		w.value(n.below[key], writers, g, l, path+name)
	}
	if seen == 0 {
		return false
	}
	for i, item := range git { // what somebody has taken out
		if !slices.ContainsFunc(slices.Collect(maps.Keys(n.below)), func(key string) bool {
			g, _ := drift.Step(key, git)
			return reflect.DeepEqual(g, item)
		}) {
			w.value(nil, nil, item, nil, path+itemName(i, item))
		}
	}
	return true
}

func itemName(i int, item any) string {
	if m, ok := item.(map[string]any); ok {
		if name, ok := m["name"].(string); ok {
			return "[name=" + strconv.Quote(name) + "]"
		}
	}
	return "[" + strconv.Itoa(i) + "]"
}

func (w *walk) leaf(writers []Writer, git, live any, path string) {
	path = strings.TrimPrefix(path, ".")
	if path == "" || slices.Contains(identity, path) {
		return
	}
	f := Field{Path: path, Git: git, Live: live, Writers: slices.Clone(writers)}
	slices.SortStableFunc(f.Writers, func(a, b Writer) int {
		switch {
		case a.Time == nil || b.Time == nil:
			return 0
		default:
			return a.Time.Compare(*b.Time)
		}
	})
	ours := slices.ContainsFunc(writers, func(o Writer) bool { return o.Manager == w.manager })
	f.Drifted = git != nil && !ours && fmt.Sprint(git) != fmt.Sprint(live)
	w.found = append(w.found, f)
}
