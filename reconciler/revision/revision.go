package revision

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Owner is a workload whose template has a history.
type Owner struct {
	client.Object
	Kind     schema.GroupVersionKind
	Template *corev1.PodTemplateSpec
	// HashLabel is the label of revisions that has their hash.
	HashLabel string
	// Collisions is status.collisionCount; nil is 0.
	Collisions *int32
}

// History is an owner's revisions after Settle.
type History struct {
	// Update is the present template's; its number is the highest.
	Update *appsv1.ControllerRevision
	// All are all of them, oldest first.
	All []*appsv1.ControllerRevision
	// Collisions is the owner's new status.collisionCount.
	Collisions *int32
	same       map[string]bool
}

// Named finds a revision by its name; nil when there is none.
func (h *History) Named(name string) *appsv1.ControllerRevision {
	for _, r := range h.All {
		if r.Name == name {
			return r
		}
	}
	return nil
}

// IsUpdate tells whether the revision of the name has the present template.
func (h *History) IsUpdate(name string) bool { return h.same[name] }

// Settle finds the revision of the owner's template among those that it
// controls, or makes it.
func Settle(ctx context.Context, c client.Client, owner Owner, revisions []*appsv1.ControllerRevision) (*History, error) {
	h := &History{All: slices.Clone(revisions), Collisions: owner.Collisions, same: map[string]bool{}}
	slices.SortFunc(h.All, byAge)
	for _, r := range h.All {
		if template, err := Template(r); err == nil && equality.Semantic.DeepEqual(template, owner.Template) {
			h.Update, h.same[r.Name] = r, true
		}
	}
	var newest int64
	if len(h.All) > 0 {
		newest = h.All[len(h.All)-1].Revision
	}
	switch {
	case h.Update == nil:
		return h, h.create(ctx, c, owner, newest+1)
	case h.Update != h.All[len(h.All)-1]:
		next := h.Update.DeepCopy()
		next.Revision = newest + 1
		if err := c.Update(ctx, next); err != nil {
			return nil, fmt.Errorf("renumber revision %q: %w", next.Name, err)
		}
		*h.Update = *next
		slices.SortFunc(h.All, byAge)
	}
	return h, nil
}

// create makes the revision of the present template. Where another one has its
// name the hash is made anew.
func (h *History) create(ctx context.Context, c client.Client, owner Owner, number int64) error {
	for {
		r, err := next(owner, number, h.Collisions)
		if err != nil {
			return err
		}
		err = c.Create(ctx, r)
		if apierrors.IsAlreadyExists(err) {
			there := &appsv1.ControllerRevision{}
			if err := c.Get(ctx, client.ObjectKeyFromObject(r), there); err != nil {
				return fmt.Errorf("read revision %q: %w", r.Name, err)
			}
			template, err := Template(there)
			if err != nil || !metav1.IsControlledBy(there, owner) || !equality.Semantic.DeepEqual(template, owner.Template) {
				n := int32(1)
				if h.Collisions != nil {
					n += *h.Collisions
				}
				h.Collisions = &n
				continue
			}
			r = there // ours, after a lost answer
		} else if err != nil {
			return fmt.Errorf("create revision: %w", err)
		}
		h.Update, h.same[r.Name] = r, true
		h.All = append(h.All, r)
		return nil
	}
}

// Truncate deletes the oldest revisions beyond the limit that are not live, by
// their names.
func (h *History) Truncate(ctx context.Context, c client.Client, limit int, live func(name string) bool) error {
	var past []*appsv1.ControllerRevision
	for _, r := range h.All {
		if r != h.Update && !live(r.Name) {
			past = append(past, r)
		}
	}
	for _, r := range past[:max(len(past)-max(limit, 0), 0)] {
		if err := c.Delete(ctx, r); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete revision %q: %w", r.Name, err)
		}
	}
	return nil
}

// byAge sorts by number; among equal ones the older comes later, so that it is
// the one that stays in use.
func byAge(a, b *appsv1.ControllerRevision) int {
	return cmp.Or(cmp.Compare(a.Revision, b.Revision), b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

func next(owner Owner, number int64, collisions *int32) (*appsv1.ControllerRevision, error) {
	data, err := Data(owner.Template)
	if err != nil {
		return nil, err
	}
	hash := Hash(data, collisions)
	labels := maps.Clone(owner.Template.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[owner.HashLabel] = hash
	annotations := maps.Clone(owner.GetAnnotations())
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: owner.GetNamespace(), Name: name(owner.GetName(), hash), Labels: labels, Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, owner.Kind)},
		},
		Data:     runtime.RawExtension{Raw: data},
		Revision: number,
	}, nil
}

// longest is how long an owner's name may be in front of a hash.
const longest = 223

func name(owner, hash string) string { return owner[:min(len(owner), longest)] + "-" + hash }

// Hash names a revision's data, with what has been counted of collisions.
func Hash(data []byte, collisions *int32) string {
	h := fnv.New32a()
	h.Write(data)
	if collisions != nil {
		fmt.Fprint(h, *collisions)
	}
	return rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10))
}

// Data is the patch that gives a workload the template.
func Data(t *corev1.PodTemplateSpec) ([]byte, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(t)
	if err != nil {
		return nil, fmt.Errorf("encode template: %w", err)
	}
	content["$patch"] = "replace"
	data, err := json.Marshal(map[string]any{"spec": map[string]any{"template": content}})
	if err != nil {
		return nil, fmt.Errorf("encode template: %w", err)
	}
	return data, nil
}

// Template is the template that a revision has.
func Template(r *appsv1.ControllerRevision) (*corev1.PodTemplateSpec, error) {
	var patch struct {
		Spec struct {
			Template *corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(r.Data.Raw, &patch); err != nil {
		return nil, fmt.Errorf("decode revision %q: %w", r.Name, err)
	}
	if patch.Spec.Template == nil {
		return nil, fmt.Errorf("decode revision %q: no template", r.Name)
	}
	return patch.Spec.Template, nil
}

// Known is the history of an owner that is being deleted: what there is, with
// the revision of the name as the present one; nil when there is none of it.
func Known(revisions []*appsv1.ControllerRevision, name string) *History {
	h := &History{All: revisions, same: map[string]bool{name: true}}
	if h.Update = h.Named(name); h.Update == nil {
		return nil
	}
	return h
}
