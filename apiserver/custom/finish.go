package custom

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/store"
	"github.com/headway-sh/headway/apiserver/write"
)

// retryAfter is how long a definition waits whose objects could not be deleted.
const retryAfter = time.Second

// Finisher deletes the objects of definitions that are being deleted, waits
// until the last one is gone, and then lets the definition go.
type Finisher struct {
	Kinds    *Kinds
	Store    Store
	Write    *write.Path
	Identity txn.Identity
	Clock    clock.Clock
	Log      *slog.Logger

	mu      sync.Mutex // guards running
	running map[types.UID]bool
}

// Finish deals with one definition; calls for one that is dealt with already
// return at once.
func (f *Finisher) Finish(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition) {
	if !apihelpers.CRDHasFinalizer(crd, apiextensionsv1.CustomResourceCleanupFinalizer) || !f.begin(crd.UID) {
		return
	}
	defer f.end(crd.UID)
	for {
		err := f.finish(ctx, crd)
		if err == nil || ctx.Err() != nil {
			return
		}
		if !store.IsExpired(err) {
			f.Log.Error("definition cannot be deleted yet", "definition", crd.Name, "err", err)
		}
		select {
		case <-f.Clock.After(retryAfter):
		case <-ctx.Done():
			return
		}
	}
}

func (f *Finisher) begin(uid types.UID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running[uid] {
		return false
	}
	if f.running == nil {
		f.running = map[types.UID]bool{}
	}
	f.running[uid] = true
	return true
}

func (f *Finisher) end(uid types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.running, uid)
}

func (f *Finisher) finish(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition) error {
	if row := f.Kinds.of(crd); row != nil {
		resource := row.Resource()
		watcher, err := f.Store.Watch(ctx, store.WatchOptions{Resource: resource})
		if err != nil {
			return err
		}
		defer watcher.Close()
		_, _, err = f.Write.DeleteCollection(ctx, f.Identity, write.Collection{Resource: resource, Delete: txn.Change{}}, write.Options{})
		if err != nil {
			return err
		}
		for f.Store.Snapshot().Count(resource) > 0 {
			if _, err := watcher.Next(ctx); err != nil {
				return err
			}
		}
	}
	return f.release(ctx, crd.Name)
}

// release takes the finalizer away, whatever else changes meanwhile.
func (f *Finisher) release(ctx context.Context, name string) error {
	ref := txn.Ref{Resource: Resource, Name: name}
	for {
		o, ok := f.Store.Snapshot().Get(ref)
		if !ok {
			return nil
		}
		next := o.(*apiextensionsv1.CustomResourceDefinition).DeepCopy()
		next.Finalizers = slices.DeleteFunc(next.Finalizers, func(s string) bool { return s == apiextensionsv1.CustomResourceCleanupFinalizer })
		apihelpers.SetCRDCondition(next, apiextensionsv1.CustomResourceDefinitionCondition{
			Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionFalse, LastTransitionTime: metav1.NewTime(f.Clock.Now()),
			Reason: "InstanceDeletionCompleted", Message: "removed all instances",
		})
		_, err := f.Write.Do(ctx, f.Identity, txn.Change{Verb: txn.Update, Ref: ref, Object: next, FieldManager: "headway"}, write.Options{})
		if apierrors.IsConflict(err) {
			continue
		}
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
}
