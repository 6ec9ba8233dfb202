package fairness

import (
	"context"
	"fmt"
	"sync"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/store"
)

// Source is where objects come from.
type Source interface {
	Snapshot() *store.Snapshot
	Watch(ctx context.Context, o store.WatchOptions) (*store.Watcher, error)
}

// Run puts the source's objects into force whenever they change, keeps up those
// that there have to be, and tells each FlowSchema whether its level is there,
// by write; until ctx ends.
func (f *Fairness) Run(ctx context.Context, source Source, write func(context.Context, txn.Change) error) error {
	changed := make(chan struct{}, 1)
	changed <- struct{}{}
	var watches sync.WaitGroup
	defer watches.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 2)
	for _, resource := range []schema.GroupResource{FlowSchemas, PriorityLevels} {
		watches.Go(func() { failed <- follow(ctx, source, resource, changed) })
	}
	for {
		select {
		case <-changed:
			f.settle(ctx, source.Snapshot(), write)
		case err := <-failed:
			if ctx.Err() != nil {
				return nil
			}
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// follow says when a resource has changed. A watch that has expired begins anew.
func follow(ctx context.Context, source Source, resource schema.GroupResource, changed chan<- struct{}) error {
	for {
		w, err := source.Watch(ctx, store.WatchOptions{Resource: resource})
		if err != nil {
			return fmt.Errorf("watch %s: %w", resource, err)
		}
		for err == nil {
			select {
			case changed <- struct{}{}:
			default:
			}
			_, err = w.Next(ctx)
		}
		w.Close()
		if !store.IsExpired(err) {
			return err
		}
	}
}

// settle is one round: into force, then what has to be written.
func (f *Fairness) settle(ctx context.Context, view txn.View, write func(context.Context, txn.Change) error) {
	if err := f.Use(view); err != nil {
		f.config.Log.Error("flow control objects are not in force", "error", err)
	}
	for _, c := range append(Changes(view), f.Conditions(view)...) {
		err := write(ctx, c)
		// Another server has written the same, or somebody has written since:
		// then a next round follows.
		if err != nil && ctx.Err() == nil && !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			f.config.Log.Warn("flow control object could not be kept up", "object", c.Ref.String(), "error", err)
		}
	}
}

// Conditions are what tells the View's FlowSchemas whether their level is
// there, where that is not what their status says.
func (f *Fairness) Conditions(view txn.View) []txn.Change {
	var changes []txn.Change
	for o := range view.Each(FlowSchemas, "") {
		s, ok := o.(*flowcontrolv1.FlowSchema)
		if !ok {
			continue
		}
		want := f.dangling(view, s)
		at := -1
		for i, c := range s.Status.Conditions {
			if c.Type == want.Type {
				at = i
			}
		}
		if at >= 0 && s.Status.Conditions[at].Status == want.Status {
			continue
		}
		updated := s.DeepCopy()
		if at >= 0 {
			updated.Status.Conditions[at] = want
		} else {
			updated.Status.Conditions = append(updated.Status.Conditions, want)
		}
		changes = append(changes, txn.Change{Verb: txn.Update, Ref: txn.Ref{Resource: FlowSchemas, Name: s.Name}, Version: "v1", Subresource: "status",
			Object: updated, FieldManager: "api-priority-and-fairness-config-consumer-v1"})
	}
	return changes
}

func (f *Fairness) dangling(view txn.View, s *flowcontrolv1.FlowSchema) flowcontrolv1.FlowSchemaCondition {
	level := s.Spec.PriorityLevelConfiguration.Name
	c := flowcontrolv1.FlowSchemaCondition{Type: flowcontrolv1.FlowSchemaConditionDangling, Status: flowcontrolv1.ConditionFalse,
		LastTransitionTime: metav1.NewTime(f.config.Clock.Now()), Reason: "Found", Message: fmt.Sprintf("the priority level %q exists", level)}
	if _, ok := view.Get(txn.Ref{Resource: PriorityLevels, Name: level}); !ok {
		c.Status, c.Reason = flowcontrolv1.ConditionTrue, "NotFound"
		c.Message = fmt.Sprintf("there is no priority level %q: the schema takes no requests", level)
	}
	return c
}
