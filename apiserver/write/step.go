package write

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

// Operation is what a request does to its object, as admission names it.
type Operation string

const (
	// OperationCreate is the creation of an object or of a creating
	// subresource such as a binding.
	OperationCreate Operation = "CREATE"
	// OperationUpdate is any change of an existing object.
	OperationUpdate Operation = "UPDATE"
	// OperationDelete is the deletion of an object.
	OperationDelete Operation = "DELETE"
	// OperationConnect opens a stream or hands a request on.
	OperationConnect Operation = "CONNECT"
)

// Request is one write on its way through the admission steps.
type Request struct {
	Identity  txn.Identity
	Operation Operation
	// Kind is the storage version's row, and Served that of the version which
	// the request is written in.
	Kind, Served *kind.Kind
	Ref          txn.Ref
	Subresource  string
	// Object is the object as it would be stored. Mutating steps may change it
	// or, with Replace, put another in its place. Nil for deletions.
	Object txn.Object
	// Old is the stored object: shared, never to be changed. Nil for creations.
	Old txn.Object
	// Parameter is what a subresource of its own kind was given (a Binding);
	// nil otherwise.
	Parameter txn.Object
	// Delete are the options of a deletion.
	Delete *metav1.DeleteOptions
	// FieldManager of the request; may be empty.
	FieldManager string
	// DryRun says that the request will not be written whatever the answer.
	DryRun bool
	// Again says that the mutating steps run a second time, because one of
	// them asked for it.
	Again bool
	Now   time.Time

	// asked is what a request that writes no object asked for.
	asked       runtime.Object
	attempt     *attempt
	again       bool
	kept        map[string]any
	warnings    []string
	annotations map[string]string
	outside     time.Duration
	decides     []txn.Ref
	extra       []pendingWrite
}

// pendingWrite is an object that must be written along with the request's.
type pendingWrite struct {
	ref    txn.Ref
	object txn.Object // nil removes it
}

// Asked is what a request that writes no object asked for: shared, never to be
// changed. Nil for writes.
func (r *Request) Asked() runtime.Object { return r.asked }

// Warn tells the writer something that does not refuse the write.
func (r *Request) Warn(text string) { r.warnings = append(r.warnings, text) }

// Annotate adds an audit annotation; its key has the form of a label's. The
// first value of a key stays.
func (r *Request) Annotate(key, value string) {
	if r.annotations == nil {
		r.annotations = map[string]string{}
	}
	if _, ok := r.annotations[key]; !ok {
		r.annotations[key] = value
	}
}

// Warnings are what has been told so far.
func (r *Request) Warnings() []string { return r.warnings }

// Waited adds to the time that somebody outside took to answer.
func (r *Request) Waited(took time.Duration) { r.outside += took }

// Decide names an object that decided about the request: the write succeeds
// only while it is as the step saw it, and is planned again otherwise.
func (r *Request) Decide(ref txn.Ref) { r.decides = append(r.decides, ref) }

// Also writes another object in the same transaction, such as the record that
// an address is taken; nil removes it. It is not authorized: it is the
// server's own bookkeeping. The transaction fails when the object has changed
// since the View, and the request is planned again.
func (r *Request) Also(ref txn.Ref, object txn.Object) {
	r.extra = append(r.extra, pendingWrite{ref, object})
}

// Meter is told how long admission takes. It must be quick and may be called
// concurrently.
type Meter interface {
	// Stepped is one of the steps, by its number.
	Stepped(step int, validate bool, operation Operation, rejected bool, took time.Duration)
	// Admitted is all mutating, or all validating ones together.
	Admitted(validate bool, operation Operation, rejected bool, took time.Duration)
}

// Step is one admission step. Its functions may be nil. They read nothing but
// the View and the request, and return API status errors. The context is the
// request's: a step that asks somebody outside gives up when it ends.
type Step struct {
	// Name as users know it, such as ServiceAccount.
	Name string
	// Everything says that the step wants to see also the requests that write
	// no object through the path: streams, evictions and requests for tokens.
	// Object is nil then, and Asked or Subject tells what was asked for.
	Everything bool
	// Mutate may change r.Object; it runs before the object is validated.
	Mutate func(ctx context.Context, view txn.View, r *Request) error
	// Validate must not change r.Object; it runs after every mutation.
	Validate func(ctx context.Context, view txn.View, r *Request) error
	// Gone runs when the write takes r.Old out of the store, be it by a
	// deletion or by the removal of the last finalizer.
	Gone func(ctx context.Context, view txn.View, r *Request) error
}
