package txn

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Identity is who asks. Every View, Plan and Commit is made under one.
type Identity struct {
	Name   string
	UID    string
	Groups []string
	Extra  map[string][]string
	// Address is the peer's address without its port; empty in process.
	Address string
	// UserAgent is what the client calls itself.
	UserAgent string
	// Impersonator is the name of the authenticated user when Name was taken
	// by impersonation; empty otherwise.
	Impersonator string
}

// Verb is what a Change asks for.
type Verb string

const (
	// Create writes a new object; it fails where the name exists.
	Create Verb = "create"
	// Update replaces an existing object; a resourceVersion in it is compared.
	Update Verb = "update"
	// Patch changes an existing object by Change.Patch of Change.PatchType.
	Patch Verb = "patch"
	// Apply is server-side apply of Change.Object under Change.FieldManager.
	Apply Verb = "apply"
	// Delete removes an object by the rules of its kind (grace, finalizers).
	Delete Verb = "delete"
)

// Change is one object's wanted change.
type Change struct {
	Verb Verb
	Ref  Ref
	// Version is the API version that Object or Patch is written in.
	Version string
	// Subresource is "", "status", "scale", "binding", "approval", ...
	Subresource string
	// Object is what to create, to update with, to apply (then an
	// *unstructured.Unstructured that has only the fields of the manager) or
	// the parameter of a subresource, such as a *corev1.Binding.
	Object Object
	// Patch and PatchType are read for Verb Patch only.
	Patch     []byte
	PatchType types.PatchType

	// FieldManager names the writer in managedFields.
	FieldManager string
	// Force makes Apply take over fields that other managers own.
	Force bool
	// FieldValidation is Strict, Warn or Ignore; empty means Strict.
	FieldValidation string

	// Preconditions must hold of what is stored, else the change conflicts.
	Preconditions *metav1.Preconditions
	// Propagation and GracePeriod are read for Delete only.
	Propagation *metav1.DeletionPropagation
	GracePeriod *int64

	// As, when not nil, is who the change is made as in place of the plan's
	// identity, which must be allowed to impersonate it: authorization,
	// admission, guards, observers and the audit see As, with the plan's identity
	// as its Impersonator. A service account without groups has its own.
	As *Identity

	// DryRun says that the change is planned only: admission webhooks are told
	// so, and Commit refuses a Result that has one.
	DryRun bool

	// Origin says where the change is written down, as "apps/web.yaml:12".
	// Errors about it carry it.
	Origin string
}

// DryRun gives the same changes as ones that are asked about only.
func DryRun(changes []Change) []Change {
	out := make([]Change, len(changes))
	for i, c := range changes {
		c.DryRun = true
		out[i] = c
	}
	return out
}

// By is who a change is made as in a plan of identity's.
func (c *Change) By(identity Identity) Identity {
	if c.As == nil {
		return identity
	}
	by := *c.As
	by.Impersonator, by.Address = identity.Name, identity.Address
	if by.UserAgent == "" {
		by.UserAgent = identity.UserAgent
	}
	return by
}

// Operation is what a planned change does to the store.
type Operation string

const (
	// Created says that the object did not exist.
	Created Operation = "created"
	// Updated says that the stored object differs afterwards.
	Updated Operation = "updated"
	// Unchanged says that nothing would be written.
	Unchanged Operation = "unchanged"
	// Deleted says that the object goes away at once.
	Deleted Operation = "deleted"
	// Terminating says that deletion begins (grace, finalizers) and the object
	// stays for now.
	Terminating Operation = "terminating"
)

// Outcome is what became of one Change.
type Outcome struct {
	Change    Change
	Operation Operation
	// Before and After are shared, immutable; nil where there is none. After
	// carries no new resourceVersion until the Result is committed.
	Before, After Object
	// Warnings are for the person who asked, as in the Warning header.
	Warnings []string
	// Err is why the change cannot be made: an apimachinery API status error.
	Err error
}

// Compare is a key whose revision decided about a plan: Commit succeeds only
// while every one still has the revision.
type Compare struct {
	Ref Ref
	// Revision is the object's modification revision; 0: there is none.
	Revision int64
}

// Result is a plan: the outcome of every change, in the order of the changes,
// as it would be if all were committed on the View.
type Result struct {
	// Revision is the View's.
	Revision int64
	Identity Identity
	Outcomes []Outcome
	// Compares are the deciding keys that the changes do not write themselves
	// (namespaces, quotas, policies), in the order of Ref.Compare.
	Compares []Compare
}

// CommitOptions say how a Result is written.
type CommitOptions struct {
	// Epoch, when not zero, is compared in the same transaction.
	Epoch Epoch
	// Independent commits each outcome on its own conditions inside the one
	// transaction: a loser fails alone and is found in Committed.Failed. Used
	// for batches of binds. Otherwise it is all or nothing.
	Independent bool
	// Notes are small records stored under the notes prefix in the same
	// transaction, such as an inventory or drift records. They are no API
	// objects and are seen by no watch.
	Notes []Note
}

// Note is a record that is written along with a transaction.
type Note struct {
	// Key is slash-separated below the notes prefix, such as "inventory/main".
	Key string
	// Value is what to store; nil deletes the record.
	Value []byte
}

// Committed is what a Commit did.
type Committed struct {
	// Revision is the one revision of all objects written; the View's when
	// nothing had to be written.
	Revision int64
	// Objects are the stored objects in the order of the outcomes, with their
	// resourceVersion; nil where there is none (deleted, or failed).
	Objects []Object
	// Failed has, for Independent commits, the error of each outcome that was
	// not written, by its index.
	Failed map[int]error
}

// Epoch is one term of a singleton identity. The zero Epoch compares nothing.
type Epoch struct {
	// Name is the singleton's, such as "kube-scheduler".
	Name string
	// Number grows by one with every holder.
	Number int64
}

// Write is one committed change as observers see it.
type Write struct {
	// Identity is who wrote; its Name is empty when the write went through
	// another server.
	Identity Identity
	Ref      Ref
	// Subresource that was written through; empty for the object itself.
	Subresource string
	// FieldManager of the request; may be empty for deletions.
	FieldManager string
	// Before and After are shared, immutable; nil for a creation or removal.
	Before, After Object
	Revision      int64
	Time          time.Time
}

// Verdict is a guard's answer about a write that may go on.
type Verdict struct {
	// Warnings are handed to the person who writes.
	Warnings []string
	// Notes are stored in the same transaction as the write.
	Notes []Note
}

// Guard looks at every write of the resources it was registered for, after
// admission and before the transaction. It must be quick, must not call the
// API, and may be called concurrently and more than once for one write.
type Guard interface {
	// Check lets the write pass, or returns an API status error that refuses
	// it and says why.
	Check(ctx context.Context, view View, identity Identity, planned Outcome) (Verdict, error)
}

// Interface is the whole contract. Implementations are safe for concurrent use.
type Interface interface {
	// View returns the newest state that is known to be current: what any
	// acknowledged write has left is in it.
	View(ctx context.Context) (View, error)

	// Plan runs the changes, each on top of the ones before it, through
	// authorization, admission, defaulting and validation under the identity.
	// It writes nothing. What is wrong with single changes is in their
	// Outcome.Err, all of it at once; the error is for failures of Plan itself.
	Plan(ctx context.Context, view View, identity Identity, changes []Change) (*Result, error)

	// Commit writes a Result in one transaction whose compares cover every
	// written and every deciding key. It returns *ConflictError when one of
	// them has changed, ErrEpoch when the epoch is over, and an error without
	// writing anything when an outcome has Err (unless Independent). When it
	// returns, the caller's own Views include the write.
	Commit(ctx context.Context, result *Result, options CommitOptions) (*Committed, error)

	// Notes reads the records below a key prefix.
	Notes(ctx context.Context, prefix string) ([]Note, error)

	// Acquire begins a new epoch of the name and thereby ends every older one.
	Acquire(ctx context.Context, name string) (Epoch, error)

	// Observe calls f for every write in the order of revisions, from now on,
	// until stop is called; those that went through other servers may come a
	// little later. f runs on one goroutine and must not block for
	// long: it shares a bounded buffer, and an observer that falls behind it
	// gets a call with a zero Write and must read a View anew.
	Observe(f func(Write)) (stop func())

	// Guard registers a guard until remove is called.
	Guard(g Guard) (remove func())
}
