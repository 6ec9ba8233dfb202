package plan

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
)

// Prefix is the notes prefix of all inventories.
const Prefix = "inventory/"

// shards is how many notes an inventory is spread over, so that one changed
// object does not rewrite the record of all others. It is part of the format.
const shards = 64

// Entry is what the inventory knows of one object.
type Entry struct {
	Group      string `json:"g,omitempty"`
	Resource   string `json:"r"`
	APIVersion string `json:"v"`
	Kind       string `json:"k"`
	Namespace  string `json:"ns,omitempty"`
	Name       string `json:"n"`
	// Digest of the desired object that was applied last.
	Digest string `json:"d,omitempty"`
	// Left says that the source has let go of it, and that it is still there
	// because another source asks for it, or may.
	Left bool `json:"l,omitempty"`
	// From is the source that it was taken over from.
	From string `json:"f,omitempty"`
	// Origin is where it is written down.
	Origin string `json:"o,omitempty"`
	// Through are the kustomizations and patches that have shaped it since.
	Through string `json:"c,omitempty"`
	// Tenant whose it is; empty for the source's own.
	Tenant string `json:"t,omitempty"`
}

// Ref names the object.
func (e *Entry) Ref() txn.Ref {
	return txn.Ref{Resource: schema.GroupResource{Group: e.Group, Resource: e.Resource}, Namespace: e.Namespace, Name: e.Name}
}

// Head says which commit an inventory is of.
type Head struct {
	// Commit is the newest one whose first stage was written.
	Commit string `json:"commit"`
	// Complete is false while stages of it are missing.
	Complete bool `json:"complete"`
	// Ref that the commit was found on.
	Ref string `json:"ref,omitempty"`
}

// Inventory is what a source has in the cluster. It is not changed once made.
type Inventory struct {
	Head    Head
	Entries map[txn.Ref]Entry
}

// NewInventory makes an empty one.
func NewInventory() *Inventory { return &Inventory{Entries: map[txn.Ref]Entry{}} }

// Load reads the inventories of all sources from their notes.
func Load(notes []txn.Note) (map[string]*Inventory, error) {
	out := map[string]*Inventory{}
	for _, n := range notes {
		source, part, ok := strings.Cut(strings.TrimPrefix(n.Key, Prefix), "/")
		if !ok {
			return nil, fmt.Errorf("read inventory: unknown note %q", n.Key)
		}
		i := out[source]
		if i == nil {
			i = NewInventory()
			out[source] = i
		}
		if part == "head" {
			if err := json.Unmarshal(n.Value, &i.Head); err != nil {
				return nil, fmt.Errorf("read inventory %s: %w", n.Key, err)
			}
			continue
		}
		var entries []Entry
		if err := json.Unmarshal(n.Value, &entries); err != nil {
			return nil, fmt.Errorf("read inventory %s: %w", n.Key, err)
		}
		for _, e := range entries {
			i.Entries[e.Ref()] = e
		}
	}
	return out, nil
}

// Notes are the records that turn the stored form of old into that of i.
func (i *Inventory) Notes(source string, old *Inventory) []txn.Note {
	changed := map[uint32]bool{}
	for ref, e := range i.Entries {
		if old.Entries[ref] != e {
			changed[shard(ref)] = true
		}
	}
	for ref := range old.Entries {
		if _, ok := i.Entries[ref]; !ok {
			changed[shard(ref)] = true
		}
	}
	var notes []txn.Note
	if i.Head != old.Head {
		notes = append(notes, txn.Note{Key: Prefix + source + "/head", Value: mustJSON(i.Head)})
	}
	if len(changed) == 0 {
		return notes
	}
	content := map[uint32][]Entry{}
	for ref, e := range i.Entries {
		if n := shard(ref); changed[n] {
			content[n] = append(content[n], e)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(changed)) {
		note := txn.Note{Key: fmt.Sprintf("%s%s/%02d", Prefix, source, n)}
		if entries := content[n]; len(entries) > 0 {
			slices.SortFunc(entries, func(a, b Entry) int { return a.Ref().Compare(b.Ref()) })
			note.Value = mustJSON(entries)
		}
		notes = append(notes, note)
	}
	return notes
}

func shard(ref txn.Ref) uint32 {
	h := fnv.New32a()
	for _, s := range []string{ref.Resource.Group, ref.Resource.Resource, ref.Namespace, ref.Name} {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	return h.Sum32() % shards
}
