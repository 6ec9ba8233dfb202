package drift

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

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

// Finding is what a write by somebody else means for a source.
type Finding struct {
	// Record says what was changed, without what is left to others.
	Record *Record
	// Policy is the strictest one of the fields that were changed: deny,
	// correct, warn or report.
	Policy v1alpha1.DriftPolicy
	// Correct tells whether anything of it is to be put back.
	Correct bool
}

// strictness orders policies.
var strictness = map[v1alpha1.DriftPolicy]int{
	v1alpha1.DriftAllow: 0, v1alpha1.DriftReport: 1, v1alpha1.DriftWarn: 2, v1alpha1.DriftCorrect: 3, v1alpha1.DriftDeny: 4,
}

// Look says what a write by somebody else changed of what git says; nil when
// nothing, or nothing but what is left to others. scaled tells that an
// autoscaler looks after the object's replicas.
func Look(source string, rules *Rules, e *plan.Entry, w txn.Write, scaled func() bool) *Finding {
	r := &Record{
		Time: w.Time.UTC(), Object: e.Ref().String(), Kind: e.Kind, Namespace: e.Namespace, Name: e.Name, Origin: e.Origin,
		User: w.Identity.Name, Groups: w.Identity.Groups, Impersonator: w.Identity.Impersonator,
		Address: w.Identity.Address, UserAgent: w.Identity.UserAgent, Manager: w.FieldManager,
	}
	f := &Finding{Record: r, Policy: v1alpha1.DriftAllow}
	switch {
	case w.Before == nil || w.Before.GetDeletionTimestamp() != nil:
		return nil
	case w.After == nil || w.After.GetDeletionTimestamp() != nil:
		r.Deleted = true
		f.count(rules.For(e, "", w.Time))
		return f.worth()
	}
	fields, err := Changed(plan.Manager(source), w.Before, w.After)
	if err != nil {
		return nil // what cannot be read as ours is not ours
	}
	for _, change := range fields {
		policy := rules.For(e, change.Path, w.Time)
		if policy == v1alpha1.DriftAllow || change.Path == replicas && scaled() {
			continue
		}
		f.count(policy)
		r.Fields = append(r.Fields, change)
	}
	r.Fields = r.Fields[:min(len(r.Fields), maxFields)]
	if e.Kind == "Secret" && e.Group == "" {
		mask(r.Fields)
	}
	return f.worth()
}

// count takes a policy in. What is denied but got through is put back.
func (f *Finding) count(p v1alpha1.DriftPolicy) {
	if strictness[p] > strictness[f.Policy] {
		f.Policy = p
	}
	f.Correct = f.Correct || p == v1alpha1.DriftCorrect || p == v1alpha1.DriftDeny
}

func (f *Finding) worth() *Finding {
	if f.Policy == v1alpha1.DriftAllow {
		return nil
	}
	return f
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
