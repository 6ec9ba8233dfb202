package write

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation/path"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/fieldmanager"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/store"
)

// attempt is one change on its way through the pipeline, on one View.
type attempt struct {
	path     *Path
	view     txn.View
	identity txn.Identity
	change   txn.Change
	now      time.Time
	manner
	// only is set for a request that writes no object: only the steps that
	// want to see everything are asked.
	only bool

	kind *kind.Kind        // the row of the version that is written in
	sub  *kind.Subresource // nil for the object itself
	old  txn.Object        // nil when there is none

	planned planned
	// stepped is when the last admission step was over, for the metrics.
	stepped time.Time
}

// manner is how a change is planned.
type manner struct {
	// authorized is set when the whole request was authorized already, as for
	// the single deletions of a deletecollection.
	authorized bool
	// admitted is set when those who want to see everything were asked about
	// the request that this is a part of, such as an eviction.
	admitted bool
	// fresh says that the View has every acknowledged write.
	fresh bool
}

// planned is what an attempt found out: the outcome and what Commit has to do
// about it.
type planned struct {
	outcome txn.Outcome
	kind    *kind.Kind // the row of the version that is written in
	extra   []pendingWrite
	decides []txn.Ref
	notes   []txn.Note
	// told is for the audit.
	told Told
	// slow says that somebody outside was asked: nobody may wait for the
	// change to be planned.
	slow bool
}

// shares are the records that the change writes along with its object.
func (p planned) shares() []txn.Ref {
	refs := make([]txn.Ref, len(p.extra))
	for i, e := range p.extra {
		refs[i] = e.ref
	}
	return refs
}

// plan runs one change through the pipeline on a View.
func (p *Path) plan(ctx context.Context, view txn.View, identity txn.Identity, change txn.Change, how manner) planned {
	a := &attempt{path: p, view: view, change: change, now: p.Clock.Now(), manner: how}
	var err error
	if a.identity, err = p.acting(view, identity, &change); err == nil {
		err = a.run(ctx)
	}
	if err == nil {
		err = a.guard(ctx)
	}
	a.planned.outcome.Change, a.planned.kind, a.planned.told.Kind = a.change, a.kind, a.kind
	a.planned.told.By = a.identity
	if err != nil {
		a.planned.outcome.Err = status(err)
		a.planned.outcome.After = nil
		a.planned.extra, a.planned.notes = nil, nil
	}
	return a.planned
}

func (a *attempt) run(ctx context.Context) error {
	if err := a.resolve(); err != nil {
		return err
	}
	if err := a.authorize(); err != nil {
		return err
	}
	if a.change.Ref.Name != "" {
		a.old, _ = a.view.Get(a.change.Ref)
	}
	a.planned.outcome.Before = a.old
	switch a.change.Verb {
	case txn.Create:
		if a.sub != nil {
			return a.createSubresource(ctx)
		}
		return a.create(ctx)
	case txn.Update:
		return a.update(ctx)
	case txn.Patch:
		return a.patch(ctx)
	case txn.Apply:
		return a.apply(ctx)
	case txn.Delete:
		return a.delete(ctx)
	}
	return apierrors.NewMethodNotSupported(a.kind.Served(), string(a.change.Verb))
}

// resolve finds the kind and refuses names that could not be a path segment:
// they would reach another key.
func (a *attempt) resolve() error {
	ref := &a.change.Ref
	if a.kind = a.path.row(a.view, ref.Resource, a.change.Version); a.kind == nil {
		return apierrors.NewGenericServerResponse(http.StatusNotFound, string(a.change.Verb), ref.Resource, ref.Name, "", 0, true)
	}
	a.change.Version, ref.Resource = a.kind.GVK.Version, a.kind.Resource()
	if name := a.change.Subresource; name != "" {
		sub, ok := a.kind.Subresources[name]
		if !ok || sub.Connect && !a.only {
			return apierrors.NewGenericServerResponse(http.StatusNotFound, string(a.change.Verb), a.kind.Served(), ref.Name, "", 0, true)
		}
		a.sub = &sub
	}
	if a.change.Object != nil && a.change.Verb != txn.Delete {
		if ref.Name == "" {
			ref.Name = a.change.Object.GetName()
		}
		if ref.Namespace == "" && a.kind.Namespaced {
			ref.Namespace = a.change.Object.GetNamespace()
		}
	}
	for _, segment := range []string{ref.Namespace, ref.Name} {
		if problems := path.IsValidPathSegmentName(segment); segment != "" && len(problems) > 0 {
			return apierrors.NewBadRequest(fmt.Sprintf("invalid name %q: %s", segment, strings.Join(problems, ", ")))
		}
	}
	switch {
	case a.kind.Namespaced && ref.Namespace == "":
		return apierrors.NewBadRequest("an empty namespace may not be set when a resource name is provided")
	case !a.kind.Namespaced && ref.Namespace != "":
		return apierrors.NewBadRequest(fmt.Sprintf("%s are not namespaced", a.kind.Served()))
	case ref.Name == "" && (a.change.Verb != txn.Create || a.sub != nil):
		return apierrors.NewBadRequest("resource name may not be empty")
	}
	return nil
}

func (a *attempt) authorize() error {
	if a.authorized {
		return nil
	}
	verb := string(a.change.Verb)
	if a.change.Verb == txn.Apply {
		verb = string(txn.Patch)
	}
	name := a.change.Ref.Name
	if a.change.Verb == txn.Create && a.sub == nil {
		name = "" // whoever may create may choose the name
	}
	return a.allowed(verb, name)
}

func (a *attempt) allowed(verb, name string) error {
	decision, err := Decide(a.path.Authorizer, a.view, a.identity, Attributes{
		Verb: verb, Resource: a.kind.Served(), Version: a.change.Version, Subresource: a.change.Subresource,
		Namespace: a.change.Ref.Namespace, Name: name,
	})
	a.planned.told.Reason = decision.Reason
	return err
}

func (a *attempt) warn(texts ...string) {
	a.planned.outcome.Warnings = append(a.planned.outcome.Warnings, texts...)
}

// guard asks the registered guards about a change that would be written.
func (a *attempt) guard(ctx context.Context) error {
	if a.planned.outcome.Operation == txn.Unchanged {
		return nil
	}
	a.planned.outcome.Change = a.change
	for _, g := range a.path.registered() {
		verdict, err := (*g).Check(ctx, a.view, a.identity, a.planned.outcome)
		if err != nil {
			return err
		}
		a.warn(verdict.Warnings...)
		a.planned.notes = append(a.planned.notes, verdict.Notes...)
	}
	return nil
}

// writer says who writes, for managedFields.
func (a *attempt) writer() fieldmanager.Writer {
	manager := a.change.FieldManager
	if manager == "" {
		manager, _, _ = strings.Cut(a.identity.UserAgent, "/")
	}
	return fieldmanager.Writer{
		Manager:     manager,
		Version:     a.kind.GVK.GroupVersion(),
		Subresource: a.change.Subresource,
		Now:         a.now,
	}
}

// status makes sure that an error is an API status.
func status(err error) error {
	if errors.Is(err, errNotCurrent) {
		return err // for do alone
	}
	if _, ok := err.(apierrors.APIStatus); ok {
		return err
	}
	return apierrors.NewInternalError(err)
}

// revision is an object's resourceVersion as a number; 0 for none.
func revision(o txn.Object) int64 {
	if o == nil {
		return 0
	}
	n, err := strconv.ParseInt(o.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0 // an object that is only planned has none
	}
	return n
}

// storeWrite is the write of one object, given what the base View has of it.
func storeWrite(base txn.View, ref txn.Ref, o txn.Object) store.Write {
	before, _ := base.Get(ref)
	return store.Write{Ref: ref, Object: o, Expect: revision(before)}
}
