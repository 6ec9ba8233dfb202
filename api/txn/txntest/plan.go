package txntest

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/applyconfigurations"

	"github.com/headway-sh/headway/api/txn"
)

// planned is one outcome and the revision that its object must still have.
type planned struct {
	outcome txn.Outcome
	expect  int64
}

// Plan implements txn.Interface.
func (s *Store) Plan(ctx context.Context, base txn.View, identity txn.Identity, changes []txn.Change) (*txn.Result, error) {
	pending := map[txn.Ref]txn.Object{}
	result := &txn.Result{Revision: base.Revision(), Identity: identity}
	all := make([]planned, 0, len(changes))
	compared := map[txn.Ref]bool{}
	for _, change := range changes {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		over := &layered{base, pending}
		outcome := s.planOne(over, identity, change)
		if outcome.Err == nil && outcome.Operation != txn.Unchanged {
			pending[change.Ref] = outcome.After
		}
		stored, _ := base.Get(change.Ref)
		all = append(all, planned{outcome: outcome, expect: revisionOf(stored)})
		result.Outcomes = append(result.Outcomes, outcome)
		if ns := (txn.Ref{Resource: namespaces, Name: change.Ref.Namespace}); ns.Name != "" && !compared[ns] {
			compared[ns] = true
			if o, ok := base.Get(ns); ok {
				result.Compares = append(result.Compares, txn.Compare{Ref: ns, Revision: revisionOf(o)})
			}
		}
	}
	s.mu.Lock()
	s.plans[result] = all
	s.mu.Unlock()
	return result, nil
}

// layered is a View with what the plan has changed so far.
type layered struct {
	txn.View
	pending map[txn.Ref]txn.Object
}

func (l *layered) Get(ref txn.Ref) (txn.Object, bool) {
	if o, ok := l.pending[ref]; ok {
		return o, o != nil
	}
	return l.View.Get(ref)
}

var namespaces = schema.GroupResource{Resource: "namespaces"}

func revisionOf(o txn.Object) int64 {
	if o == nil {
		return 0
	}
	n, err := strconv.ParseInt(o.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0 // pending
	}
	return n
}

func (s *Store) planOne(v txn.View, identity txn.Identity, c txn.Change) (out txn.Outcome) {
	out.Change = c
	before, exists := v.Get(c.Ref)
	if exists {
		out.Before = before
	}
	s.mu.Lock()
	reject := s.reject
	s.mu.Unlock()
	if reject != nil {
		if out.Err = reject(c.By(identity), c); out.Err != nil {
			return out
		}
	}
	if p := c.Preconditions; p != nil && exists && p.UID != nil && *p.UID != before.GetUID() {
		out.Err = apierrors.NewConflict(c.Ref.Resource, c.Ref.Name, fmt.Errorf("the UID is %s", before.GetUID()))
		return out
	}
	if c.Verb == txn.Delete {
		return deleted(out, exists)
	}
	after, err := s.change(v, out.Before, c)
	if err != nil {
		out.Err = err
		return out
	}
	if exists && c.Subresource == "" {
		gvk, err := s.kind(c)
		if err == nil {
			err = changesImmutable(c.Ref, gvk.GroupKind(), before, after)
		}
		if out.Err = err; err != nil {
			return out
		}
	}
	out.After = after
	switch {
	case !exists:
		out.Operation = txn.Created
	case len(before.GetFinalizers()) > 0 && before.GetDeletionTimestamp() != nil && len(after.GetFinalizers()) == 0:
		out.Operation, out.After = txn.Deleted, nil
	case equality.Semantic.DeepEqual(before, after):
		out.Operation, out.After = txn.Unchanged, before
	default:
		out.Operation = txn.Updated
	}
	return out
}

func deleted(out txn.Outcome, exists bool) txn.Outcome {
	if !exists {
		out.Err = apierrors.NewNotFound(out.Change.Ref.Resource, out.Change.Ref.Name)
		return out
	}
	out.Operation = txn.Deleted
	if len(out.Before.GetFinalizers()) > 0 {
		out.Operation = txn.Terminating
		out.After = out.Before.DeepCopyObject().(txn.Object)
		now := metav1.Now()
		out.After.SetDeletionTimestamp(&now)
	}
	return out
}

// change gives the object after a change, by its verb.
func (s *Store) change(v txn.View, before txn.Object, c txn.Change) (txn.Object, error) {
	gvk, err := s.kind(c)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if ns := c.Ref.Namespace; ns != "" && before == nil {
		if _, ok := v.Get(txn.Ref{Resource: namespaces, Name: ns}); !ok && ns != corev1.NamespaceDefault {
			return nil, apierrors.NewNotFound(namespaces, ns)
		}
	}
	var after txn.Object
	switch {
	case c.Verb == txn.Create && before != nil:
		return nil, apierrors.NewAlreadyExists(c.Ref.Resource, c.Ref.Name)
	case c.Verb == txn.Create:
		after, err = s.typed(gvk, c.Object)
	case before == nil && c.Verb != txn.Apply:
		return nil, apierrors.NewNotFound(c.Ref.Resource, c.Ref.Name)
	case c.Verb == txn.Apply:
		after, err = s.apply(gvk, before, c)
	case c.Verb == txn.Patch:
		after, err = s.patch(gvk, before, c)
	default:
		after = c.Object.DeepCopyObject().(txn.Object)
	}
	if err != nil {
		return nil, err
	}
	if before != nil && c.Verb != txn.Apply && c.Subresource == "" {
		if after, err = s.track(gvk, before, after, c.FieldManager); err != nil {
			return nil, err
		}
	}
	return finish(before, after, c), nil
}

// typed gives an object as the type that the Store keeps it in.
func (s *Store) typed(gvk schema.GroupVersionKind, o txn.Object) (txn.Object, error) {
	body, ok := o.(*unstructured.Unstructured)
	if !ok {
		return o.DeepCopyObject().(txn.Object), nil
	}
	out, err := s.scheme.New(gvk)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(body.Object, out, true); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return asObject(out, nil), nil
}

// finish sets what a server decides.
func finish(before, after txn.Object, c txn.Change) txn.Object {
	after.SetNamespace(c.Ref.Namespace)
	after.SetName(c.Ref.Name)
	if before == nil {
		after.SetUID(uuid.NewUUID())
		after.SetGeneration(1)
		after.SetResourceVersion("")
		return after
	}
	after.SetUID(before.GetUID())
	after.SetResourceVersion(before.GetResourceVersion())
	after.SetGeneration(before.GetGeneration())
	if c.Subresource == "" && !equality.Semantic.DeepEqual(field(before, "spec"), field(after, "spec")) {
		after.SetGeneration(before.GetGeneration() + 1)
	}
	return after
}

func field(o txn.Object, name string) any {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil
	}
	return m[name]
}

func (s *Store) kind(c txn.Change) (schema.GroupVersionKind, error) {
	if c.Object != nil && !c.Object.GetObjectKind().GroupVersionKind().Empty() {
		return c.Object.GetObjectKind().GroupVersionKind(), nil
	}
	version := c.Version
	if versions := s.scheme.PrioritizedVersionsForGroup(c.Ref.Resource.Group); version == "" && len(versions) > 0 {
		version = versions[0].Version
	}
	kinds, err := s.mapper.KindsFor(c.Ref.Resource.WithVersion(version))
	for _, k := range kinds { // an empty group is one to the mapper that was not told
		if k.Group == c.Ref.Resource.Group {
			return k, nil
		}
	}
	if err == nil {
		err = fmt.Errorf("no kind of %s", c.Ref.Resource)
	}
	return schema.GroupVersionKind{}, err
}

func (s *Store) fieldManager(gvk schema.GroupVersionKind) (*managedfields.FieldManager, error) {
	var converter managedfields.TypeConverter = managedfields.NewDeducedTypeConverter()
	if gvk.Group != "gitops.headway.sh" {
		converter = applyconfigurations.NewTypeConverter(s.scheme)
	}
	return managedfields.NewDefaultFieldManager(converter, s.scheme, s.scheme, s.scheme, gvk, gvk.GroupVersion(), "", nil)
}

func (s *Store) live(gvk schema.GroupVersionKind, before txn.Object) (runtime.Object, error) {
	if before != nil {
		o := before.DeepCopyObject()
		o.GetObjectKind().SetGroupVersionKind(gvk)
		return o, nil
	}
	o, err := s.scheme.New(gvk)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	o.GetObjectKind().SetGroupVersionKind(gvk)
	return o, nil
}

func (s *Store) apply(gvk schema.GroupVersionKind, before txn.Object, c txn.Change) (txn.Object, error) {
	applied, ok := c.Object.DeepCopyObject().(*unstructured.Unstructured)
	if !ok {
		return nil, apierrors.NewBadRequest("apply wants an unstructured object")
	}
	typed, err := s.scheme.New(gvk)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(applied.Object, typed, true); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	fm, err := s.fieldManager(gvk)
	if err != nil {
		return nil, err
	}
	live, err := s.live(gvk, before)
	if err != nil {
		return nil, err
	}
	out, err := fm.Apply(live, applied, c.FieldManager, c.Force)
	if err != nil {
		return nil, err
	}
	return asObject(out, before), nil
}

// track notes an ordinary write in managedFields.
func (s *Store) track(gvk schema.GroupVersionKind, before, after txn.Object, manager string) (txn.Object, error) {
	fm, err := s.fieldManager(gvk)
	if err != nil {
		return nil, err
	}
	live, err := s.live(gvk, before)
	if err != nil {
		return nil, err
	}
	after.GetObjectKind().SetGroupVersionKind(gvk)
	out, err := fm.Update(live, after, manager)
	if err != nil {
		return nil, err
	}
	return asObject(out, before), nil
}

// asObject gives the object the same TypeMeta as the stored one has.
func asObject(o runtime.Object, before txn.Object) txn.Object {
	if before != nil {
		o.GetObjectKind().SetGroupVersionKind(before.GetObjectKind().GroupVersionKind())
	} else {
		o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	}
	return o.(txn.Object)
}

func (s *Store) patch(gvk schema.GroupVersionKind, before txn.Object, c txn.Change) (txn.Object, error) {
	original, err := json.Marshal(before)
	if err != nil {
		return nil, err
	}
	empty, err := s.scheme.New(gvk)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	var changed []byte
	switch c.PatchType {
	case types.MergePatchType:
		changed, err = jsonpatch.MergePatch(original, c.Patch)
	case types.StrategicMergePatchType:
		changed, err = strategicpatch.StrategicMergePatch(original, c.Patch, empty)
	default:
		return nil, apierrors.NewBadRequest("the emulator has merge patches only")
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if err := json.Unmarshal(changed, empty); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return asObject(empty, before), nil
}
