package plan

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
)

// Digest is a keyed digest of the plan: of every object and hook it asks for,
// what is to happen to it, and the state of what it changes, replaces or
// deletes. Writes of status do not change it.
func (p *Plan) Digest(key []byte, view txn.View) string {
	h := hmac.New(sha256.New, key)
	for _, s := range p.Stages {
		for _, c := range s.Changes {
			fmt.Fprintf(h, "%s\x00%s\x00", c.Verb, c.Ref)
			if c.As != nil {
				fmt.Fprintf(h, "%s\x00", c.As.Name)
			}
			if p.Replaced[c.Ref] {
				fmt.Fprint(h, "replaced\x00")
			}
			if c.Verb != txn.Delete {
				fmt.Fprintf(h, "%s\x00", p.Next.Entries[c.Ref].Digest)
			}
			if o, ok := view.Get(c.Ref); ok {
				identify(h, o)
			}
		}
	}
	for i := range p.Hooks {
		fmt.Fprintf(h, "hook\x00%s\x00%s\x00", p.Hooks[i].Ref, p.Hooks[i].Entry.Digest)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Ground is the state of an object that a plan would change.
type Ground struct {
	// Sum differs when the state does.
	Sum string `json:"sum"`
	// Content is the object without its status and the server's own fields; nil
	// for Secrets.
	Content map[string]any `json:"content,omitempty"`
}

// Grounds are the objects that a plan would change, replace or delete, as the
// View has them: with equal grounds and an equal commit, digests are equal.
func (p *Plan) Grounds(key []byte, view txn.View) map[string]Ground {
	out := map[string]Ground{}
	for _, s := range p.Stages {
		for _, c := range s.Changes {
			o, ok := view.Get(c.Ref)
			if !ok {
				out[c.Ref.String()] = Ground{}
				continue
			}
			h := hmac.New(sha256.New, key)
			identify(h, o)
			g := Ground{Sum: hex.EncodeToString(h.Sum(nil)[:16])}
			if c.Ref.Resource != secrets {
				g.Content = substance(o)
			}
			out[c.Ref.String()] = g
		}
	}
	return out
}

// identify writes which object it is and what it says: by its generation where
// that counts every change, and else by its content.
func identify(w io.Writer, o txn.Object) {
	if o.GetGeneration() > 0 && hasSpec(o) {
		fmt.Fprintf(w, "%s\x00%d\x00", o.GetUID(), o.GetGeneration())
		return
	}
	fmt.Fprintf(w, "%s\x00%s\x00", o.GetUID(), mustJSON(substance(o)))
}

func hasSpec(o txn.Object) bool {
	if u, ok := o.(*unstructured.Unstructured); ok {
		return u.Object["spec"] != nil
	}
	return reflect.ValueOf(o).Elem().FieldByName("Spec").IsValid()
}

// substance is what people and programs have written into an object.
func substance(o txn.Object) map[string]any {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return map[string]any{"resourceVersion": o.GetResourceVersion()} // then any change counts
	}
	content = maps.Clone(content) // an unstructured object gives its own
	delete(content, "status")
	delete(content, "apiVersion")
	delete(content, "kind")
	content["metadata"] = map[string]any{"labels": plain(o.GetLabels()), "annotations": plain(o.GetAnnotations())}
	return content
}

func plain(m map[string]string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err)) // only what came from JSON, strings and booleans
	}
	return b
}
