package drift

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/plan"
)

// Prefix is the notes prefix of all records.
const Prefix = "drift/"

// Keep is how many records of one source are kept.
const Keep = 200

const maxFields = 20

// Record is one write that changed what git says.
type Record struct {
	Time      time.Time `json:"time"`
	Object    string    `json:"object"` // "deployments.apps shop/web"
	Kind      string    `json:"kind"`
	Namespace string    `json:"namespace,omitempty"`
	Name      string    `json:"name"`
	Origin    string    `json:"origin,omitempty"`
	// Deleted says that the object was deleted; Fields is empty then.
	Deleted bool                   `json:"deleted,omitempty"`
	Fields  []v1alpha1.FieldChange `json:"fields,omitempty"`

	User         string   `json:"user"`
	Groups       []string `json:"groups,omitempty"`
	Impersonator string   `json:"impersonator,omitempty"`
	Address      string   `json:"address,omitempty"`
	UserAgent    string   `json:"userAgent,omitempty"`
	Manager      string   `json:"manager,omitempty"`
}

// Who says who it was, and on whose behalf.
func (r *Record) Who() string {
	if r.User == "" {
		return "somebody (through another server)"
	}
	if r.Impersonator != "" {
		return r.User + " (by " + r.Impersonator + ")"
	}
	return r.User
}

// Look says what a write by somebody else changed of what git says; nil when
// nothing.
func Look(source string, e *plan.Entry, identity txn.Identity, before, after txn.Object, fieldManager string, now time.Time) *Record {
	r := &Record{
		Time: now.UTC(), Object: e.Ref().String(), Kind: e.Kind, Namespace: e.Namespace, Name: e.Name, Origin: e.Origin,
		User: identity.Name, Groups: identity.Groups, Impersonator: identity.Impersonator,
		Address: identity.Address, UserAgent: identity.UserAgent, Manager: fieldManager,
	}
	switch {
	case before == nil || before.GetDeletionTimestamp() != nil:
		return nil
	case after == nil || after.GetDeletionTimestamp() != nil:
		r.Deleted = true
		return r
	}
	fields, err := Changed(plan.Manager(source), before, after)
	if err != nil || len(fields) == 0 {
		return nil // what cannot be read as ours is not ours
	}
	if len(fields) > maxFields {
		fields = fields[:maxFields]
	}
	if e.Kind == "Secret" && e.Group == "" {
		mask(fields)
	}
	r.Fields = fields
	return r
}

// mask hides the values of a Secret.
func mask(fields []v1alpha1.FieldChange) {
	for i := range fields {
		if p := fields[i].Path; p != "data" && p != "stringData" && !strings.HasPrefix(p, "data") && !strings.HasPrefix(p, "stringData") {
			continue
		}
		if fields[i].Before != "" {
			fields[i].Before = "(masked)"
		}
		if fields[i].After != "" {
			fields[i].After = "(masked)"
		}
	}
}

// Note is the record as it is stored. Keys sort by time.
func (r *Record) Note(source string) (txn.Note, error) {
	value, err := json.Marshal(r)
	if err != nil {
		return txn.Note{}, fmt.Errorf("write drift record: %w", err)
	}
	h := fnv.New32a()
	h.Write(value)
	return txn.Note{Key: fmt.Sprintf("%s%s/%020d-%08x", Prefix, source, r.Time.UnixNano(), h.Sum32()), Value: value}, nil
}

// Load reads the stored records of a source, the oldest first.
func Load(notes []txn.Note) ([]Record, error) {
	out := make([]Record, 0, len(notes))
	for _, n := range notes {
		var r Record
		if err := json.Unmarshal(n.Value, &r); err != nil {
			return nil, fmt.Errorf("read drift record %s: %w", n.Key, err)
		}
		out = append(out, r)
	}
	return out, nil
}

// Inventories tells which source has an object.
type Inventories interface {
	Lookup(txn.Ref) (source string, e plan.Entry, ok bool)
}

// Guard stores a record along with every write that is drift. It refuses none.
type Guard struct {
	// Self is the engine's own name, whose writes are no drift.
	Self        string
	Inventories Inventories
	Clock       clock.PassiveClock
}

var _ txn.Guard = (*Guard)(nil)

// Check implements txn.Guard.
func (g *Guard) Check(_ context.Context, _ txn.View, identity txn.Identity, planned txn.Outcome) (txn.Verdict, error) {
	if identity.Name == g.Self || planned.Change.Subresource == "status" {
		return txn.Verdict{}, nil
	}
	source, e, ok := g.Inventories.Lookup(planned.Change.Ref)
	if !ok {
		return txn.Verdict{}, nil
	}
	r := Look(source, &e, identity, planned.Before, planned.After, planned.Change.FieldManager, g.Clock.Now())
	if r == nil {
		return txn.Verdict{}, nil
	}
	note, err := r.Note(source)
	if err != nil {
		return txn.Verdict{}, err
	}
	return txn.Verdict{Notes: []txn.Note{note}}, nil
}
