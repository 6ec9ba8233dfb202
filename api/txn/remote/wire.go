package remote

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/api/txn"
)

// Path is what all calls are below.
const Path = "/apis/txn.headway.sh/v1"

// Change is txn.Change on the wire.
type Change struct {
	Verb            txn.Verb                    `json:"verb"`
	Ref             txn.Ref                     `json:"ref"`
	Version         string                      `json:"version,omitempty"`
	Subresource     string                      `json:"subresource,omitempty"`
	Object          json.RawMessage             `json:"object,omitempty"`
	Unstructured    bool                        `json:"unstructured,omitempty"`
	Patch           []byte                      `json:"patch,omitempty"`
	PatchType       types.PatchType             `json:"patchType,omitempty"`
	FieldManager    string                      `json:"fieldManager,omitempty"`
	Force           bool                        `json:"force,omitempty"`
	FieldValidation string                      `json:"fieldValidation,omitempty"`
	Preconditions   *metav1.Preconditions       `json:"preconditions,omitempty"`
	Propagation     *metav1.DeletionPropagation `json:"propagation,omitempty"`
	GracePeriod     *int64                      `json:"gracePeriod,omitempty"`
	DryRun          bool                        `json:"dryRun,omitempty"`
	Origin          string                      `json:"origin,omitempty"`
	As              *txn.Identity               `json:"as,omitempty"`
}

// Outcome is txn.Outcome without its change.
type Outcome struct {
	Operation txn.Operation   `json:"operation,omitempty"`
	Before    json.RawMessage `json:"before,omitempty"`
	After     json.RawMessage `json:"after,omitempty"`
	Warnings  []string        `json:"warnings,omitempty"`
	Err       *metav1.Status  `json:"err,omitempty"`
}

// Plan is txn.Result as the answer to a list of changes.
type Plan struct {
	Revision int64         `json:"revision"`
	Outcomes []Outcome     `json:"outcomes"`
	Compares []txn.Compare `json:"compares,omitempty"`
}

// Planned is what a plan said about one change, to be true still at commit.
type Planned struct {
	Operation txn.Operation `json:"operation"`
	// Before is the resourceVersion of the object as it was; empty: none.
	Before string `json:"before,omitempty"`
}

// Commit asks to write what was planned.
type Commit struct {
	Changes     []Change      `json:"changes"`
	Planned     []Planned     `json:"planned"`
	Compares    []txn.Compare `json:"compares,omitempty"`
	Epoch       txn.Epoch     `json:"epoch"`
	Independent bool          `json:"independent,omitempty"`
	Notes       []txn.Note    `json:"notes,omitempty"`
}

// Failure is one outcome that was not written.
type Failure struct {
	Conflict []txn.Ref      `json:"conflict,omitempty"`
	Status   *metav1.Status `json:"status,omitempty"`
}

// Committed answers a Commit: what was written, or why nothing was.
type Committed struct {
	Revision int64             `json:"revision,omitempty"`
	Objects  []json.RawMessage `json:"objects,omitempty"`
	Failed   map[int]Failure   `json:"failed,omitempty"`
	Conflict []txn.Ref         `json:"conflict,omitempty"`
	// EpochOver says that another holder has taken over.
	EpochOver bool `json:"epochOver,omitempty"`
}

// View asks for all objects of some resources at one revision.
type View struct {
	Resources []schema.GroupResource `json:"resources"`
}

// ViewLine is one line of a View's answer: first the revision, then objects,
// then Complete.
type ViewLine struct {
	Revision int64                `json:"revision,omitempty"`
	Resource schema.GroupResource `json:"resource"`
	Object   json.RawMessage      `json:"object,omitempty"`
	Complete bool                 `json:"complete,omitempty"`
}

// Notes asks for the notes below a prefix.
type Notes struct {
	Prefix string `json:"prefix"`
}

// Acquire asks for a new epoch.
type Acquire struct {
	Name string `json:"name"`
}

// WriteLine is one observed write; a line without a revision says that some
// were missed.
type WriteLine struct {
	Identity     txn.Identity    `json:"identity"`
	Ref          txn.Ref         `json:"ref"`
	Subresource  string          `json:"subresource,omitempty"`
	FieldManager string          `json:"fieldManager,omitempty"`
	Before       json.RawMessage `json:"before,omitempty"`
	After        json.RawMessage `json:"after,omitempty"`
	Revision     int64           `json:"revision,omitempty"`
	Time         time.Time       `json:"time"`
}

// Codec turns objects into JSON with their kind and back.
type Codec struct{ Scheme *runtime.Scheme }

// Encode gives an object's JSON; nil for nil.
func (c Codec) Encode(o txn.Object) (json.RawMessage, error) {
	if o == nil {
		return nil, nil
	}
	b, err := json.Marshal(o)
	if err != nil || !o.GetObjectKind().GroupVersionKind().Empty() {
		return b, err
	}
	gvks, _, err := c.Scheme.ObjectKinds(o)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", o, err)
	}
	head, err := json.Marshal(metav1.TypeMeta{Kind: gvks[0].Kind, APIVersion: gvks[0].GroupVersion().String()})
	if err != nil {
		return nil, err
	}
	if len(b) > 2 {
		head = append(head[:len(head)-1], ',')
		return append(head, b[1:]...), nil
	}
	return head, nil
}

// Decode reads an object as the type that the scheme has for it, else (or when
// asked to) as an *unstructured.Unstructured; nil for nothing.
func (c Codec) Decode(b json.RawMessage, asMap bool) (txn.Object, error) {
	if len(b) == 0 || string(b) == "null" {
		return nil, nil
	}
	var meta metav1.TypeMeta
	if err := json.Unmarshal(b, &meta); err != nil {
		return nil, fmt.Errorf("decode object: %w", err)
	}
	if o, err := c.Scheme.New(meta.GroupVersionKind()); err == nil && !asMap {
		out, ok := o.(txn.Object)
		if !ok {
			return nil, fmt.Errorf("decode object: %s has no metadata", meta.Kind)
		}
		if err := json.Unmarshal(b, out); err != nil {
			return nil, fmt.Errorf("decode %s: %w", meta.Kind, err)
		}
		return out, nil
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(b); err != nil {
		return nil, fmt.Errorf("decode %s: %w", meta.Kind, err)
	}
	return u, nil
}

// EncodeChange puts a change on the wire.
func (c Codec) EncodeChange(from txn.Change) (Change, error) {
	object, err := c.Encode(from.Object)
	if err != nil {
		return Change{}, fmt.Errorf("%s: %w", from.Ref, err)
	}
	_, asMap := from.Object.(*unstructured.Unstructured)
	return Change{Verb: from.Verb, Ref: from.Ref, Version: from.Version, Subresource: from.Subresource, Object: object, Unstructured: asMap,
		Patch: from.Patch, PatchType: from.PatchType, FieldManager: from.FieldManager, Force: from.Force, FieldValidation: from.FieldValidation,
		Preconditions: from.Preconditions, Propagation: from.Propagation, GracePeriod: from.GracePeriod, DryRun: from.DryRun, Origin: from.Origin, As: from.As}, nil
}

// DecodeChange takes a change off the wire.
func (c Codec) DecodeChange(from Change) (txn.Change, error) {
	object, err := c.Decode(from.Object, from.Unstructured || from.Verb == txn.Apply)
	if err != nil {
		return txn.Change{}, fmt.Errorf("%s: %w", from.Ref, err)
	}
	return txn.Change{Verb: from.Verb, Ref: from.Ref, Version: from.Version, Subresource: from.Subresource, Object: object,
		Patch: from.Patch, PatchType: from.PatchType, FieldManager: from.FieldManager, Force: from.Force, FieldValidation: from.FieldValidation,
		Preconditions: from.Preconditions, Propagation: from.Propagation, GracePeriod: from.GracePeriod, DryRun: from.DryRun, Origin: from.Origin, As: from.As}, nil
}

// EncodeError gives the Status of an error; nil for nil.
func EncodeError(err error) *metav1.Status {
	if err == nil {
		return nil
	}
	var api apierrors.APIStatus
	if errors.As(err, &api) {
		s := api.Status()
		return &s
	}
	return &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Message: err.Error()}
}

// DecodeError gives the error of a Status; nil for nil.
func DecodeError(s *metav1.Status) error {
	if s == nil {
		return nil
	}
	return &apierrors.StatusError{ErrStatus: *s}
}
