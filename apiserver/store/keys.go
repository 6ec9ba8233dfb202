package store

import (
	"fmt"
	"strings"

	"github.com/headway-sh/headway/api/txn"
)

// The keys beside the objects sort before /registry/, so that one watch covers
// both and the store's revision follows every write of any server.
const (
	rangeStart     = "/headway/"
	rangeEnd       = "/registry0" // the first key after /registry/…
	registryPrefix = "/registry/"
	notesPrefix    = "/headway/notes/"
	epochsPrefix   = "/headway/epochs/"
	markerKey      = "/headway/marker"
)

// key is where an object of the resource is stored.
func (r *Resource) key(ref txn.Ref) string {
	if r.Namespaced {
		return r.Prefix + ref.Namespace + "/" + ref.Name
	}
	return r.Prefix + ref.Name
}

// ref is the object that a key below the resource's prefix stores; false for
// keys of another shape.
func (r *Resource) ref(key string) (txn.Ref, bool) {
	namespace, name := "", key[len(r.Prefix):]
	if r.Namespaced {
		var ok bool
		if namespace, name, ok = strings.Cut(name, "/"); !ok || namespace == "" {
			return txn.Ref{}, false
		}
	}
	if name == "" || strings.Contains(name, "/") {
		return txn.Ref{}, false
	}
	return txn.Ref{Resource: r.Resource, Namespace: namespace, Name: name}, true
}

// prefixEnd is the first key after all keys with the prefix.
func prefixEnd(prefix string) string {
	return prefix[:len(prefix)-1] + string(prefix[len(prefix)-1]+1)
}

// catalog finds resources by name and by key. It never changes: adding a
// resource makes a new one.
type catalog struct {
	resources []*Resource // nil where one was removed; the position is the table's
	numbers   map[groupResource]int
	prefixes  map[string]int
	sealer    Sealer // nil: values are stored as they are
}

// of finds the number of the resource whose prefix the key has. Prefixes have
// one, two or three path segments after /registry/.
func (c *catalog) of(key string) (int, bool) {
	end := len(registryPrefix)
	for range 3 {
		i := strings.IndexByte(key[end:], '/')
		if i < 0 {
			return 0, false
		}
		end += i + 1
		if n, ok := c.prefixes[key[:end]]; ok {
			return n, true
		}
	}
	return 0, false
}

// encode gives what to store of an object.
func (c *catalog) encode(r *Resource, key string, o txn.Object) ([]byte, error) {
	b, err := r.Encode(o)
	if err != nil || c.sealer == nil {
		return b, err
	}
	return c.sealer.Seal(r.Resource, key, b)
}

// decode reads what encode gave.
func (c *catalog) decode(r *Resource, key string, value []byte) (txn.Object, error) {
	if c.sealer != nil {
		var err error
		if value, err = c.sealer.Open(r.Resource, key, value); err != nil {
			return nil, fmt.Errorf("unseal: %w", err)
		}
	}
	return r.Decode(value)
}

// with returns a catalog that has the resource too, and its number.
func (c *catalog) with(r *Resource) (*catalog, int) {
	n := len(c.resources)
	next := c.copy()
	next.resources = append(next.resources, r)
	next.numbers[r.Resource] = n
	next.prefixes[r.Prefix] = n
	return next, n
}

// replaced returns a catalog that has another declaration of a resource.
func (c *catalog) replaced(n int, r *Resource) *catalog {
	next := c.copy()
	next.resources[n] = r
	return next
}

// without returns a catalog that does not have the resource any more. Numbers
// of the others stay.
func (c *catalog) without(n int) *catalog {
	next := c.copy()
	delete(next.numbers, c.resources[n].Resource)
	delete(next.prefixes, c.resources[n].Prefix)
	next.resources[n] = nil
	return next
}

func (c *catalog) copy() *catalog {
	next := &catalog{
		resources: append(make([]*Resource, 0, len(c.resources)+1), c.resources...),
		numbers:   make(map[groupResource]int, len(c.numbers)+1),
		prefixes:  make(map[string]int, len(c.prefixes)+1),
		sealer:    c.sealer,
	}
	for k, v := range c.numbers {
		next.numbers[k] = v
	}
	for k, v := range c.prefixes {
		next.prefixes[k] = v
	}
	return next
}
