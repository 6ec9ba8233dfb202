// Package namespace empties namespaces that are being deleted and then lets
// them go. It deletes the objects in them, and writes the conditions and the
// finalizer of terminating Namespaces.
package namespace

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/controller"
)

// Name is the controller's, and its service account's in kube-system.
const Name = "namespace-controller"

// look is how often a namespace is looked at whose content takes its time.
const look = time.Second

var podKind = corev1.SchemeGroupVersion.WithKind("Pod")

// Reconciler empties one namespace at a time.
type Reconciler struct {
	controller.Deps
	// Kinds are the namespaced kinds that there are now.
	Kinds func() []schema.GroupVersionKind
}

// New returns the controller.
func New(deps controller.Deps, kinds func() []schema.GroupVersionKind) (controller.Runnable, error) {
	return controller.New(Name, deps, 5, &Reconciler{deps, kinds},
		controller.On(deps.Cache, &corev1.Namespace{}, func(_ context.Context, _, n *corev1.Namespace) []reconcile.Request {
			if n == nil || n.DeletionTimestamp == nil {
				return nil
			}
			return []reconcile.Request{controller.Named("", n.Name)}
		}),
		controller.On(deps.Cache, &corev1.Pod{}, func(_ context.Context, before, after *corev1.Pod) []reconcile.Request {
			if after != nil {
				return nil
			}
			return []reconcile.Request{controller.Named("", before.Namespace)} // most wait for their last pod
		}))
}

// content is what is left in a namespace.
type content struct {
	remaining  map[string]int // by resource name
	finalizers map[string]int
	failures   []string
}

// Reconcile does one pass over one namespace.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	n := &corev1.Namespace{}
	if err := r.Client.Get(ctx, req.NamespacedName, n); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if n.DeletionTimestamp == nil || !slices.Contains(n.Spec.Finalizers, corev1.FinalizerKubernetes) {
		return reconcile.Result{}, nil
	}
	left := r.empty(ctx, n.Name)
	if err := r.writeConditions(ctx, n, left); err != nil {
		return reconcile.Result{}, err
	}
	if len(left.remaining) > 0 || len(left.failures) > 0 {
		return reconcile.Result{RequeueAfter: look}, nil
	}
	n.Spec.Finalizers = slices.DeleteFunc(n.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
	if err := r.Client.SubResource("finalize").Update(ctx, n); client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("finalize namespace %q: %w", n.Name, err)
	}
	return reconcile.Result{}, nil
}

// empty deletes all content, pods before what they may still use.
func (r *Reconciler) empty(ctx context.Context, namespace string) content {
	left := content{remaining: map[string]int{}, finalizers: map[string]int{}}
	r.emptyKind(ctx, namespace, podKind, &left)
	if len(left.remaining) > 0 {
		return left
	}
	for _, kind := range r.Kinds() {
		if kind != podKind {
			r.emptyKind(ctx, namespace, kind, &left)
		}
	}
	return left
}

func (r *Reconciler) emptyKind(ctx context.Context, namespace string, kind schema.GroupVersionKind, left *content) {
	objects, err := controller.Objects(ctx, r.Client, kind, namespace)
	if err != nil {
		left.failures = append(left.failures, fmt.Sprintf("list %s: %v", kind.Kind, err))
		return
	}
	for _, o := range objects {
		if o.GetDeletionTimestamp() == nil {
			err := r.Client.Delete(ctx, o, client.PropagationPolicy(metav1.DeletePropagationBackground))
			if client.IgnoreNotFound(err) != nil {
				left.failures = append(left.failures, fmt.Sprintf("delete %s %q: %v", kind.Kind, o.GetName(), err))
			}
		}
	}
	if len(objects) > 0 { // what went at once must not be counted
		if objects, err = controller.Objects(ctx, r.Client, kind, namespace); err != nil {
			left.failures = append(left.failures, fmt.Sprintf("list %s: %v", kind.Kind, err))
			return
		}
	}
	if len(objects) == 0 {
		return
	}
	resource, _ := meta.UnsafeGuessKindToResource(kind)
	left.remaining[resource.GroupResource().String()] = len(objects)
	for _, o := range objects {
		for _, f := range o.GetFinalizers() {
			left.finalizers[f]++
		}
	}
}

// writeConditions says in the namespace's status what it waits for.
func (r *Reconciler) writeConditions(ctx context.Context, n *corev1.Namespace, left content) error {
	before := n.Status.DeepCopy()
	r.set(n, corev1.NamespaceDeletionDiscoveryFailure, false, "ResourcesDiscovered", "All resources successfully discovered")
	r.set(n, corev1.NamespaceDeletionGVParsingFailure, false, "ParsedGroupVersions", "All legacy kube types successfully parsed")
	if len(left.failures) > 0 {
		r.set(n, corev1.NamespaceDeletionContentFailure, true, "ContentDeletionFailed", "Failed to delete all resource types: "+strings.Join(left.failures, ", "))
	} else {
		r.set(n, corev1.NamespaceDeletionContentFailure, false, "ContentDeleted", "All content successfully deleted, may be waiting on finalization")
	}
	if len(left.remaining) > 0 {
		r.set(n, corev1.NamespaceContentRemaining, true, "SomeResourcesRemain", "Some resources are remaining: "+count(left.remaining, "%s has %d resource instances"))
	} else {
		r.set(n, corev1.NamespaceContentRemaining, false, "ContentRemoved", "All content successfully removed")
	}
	if len(left.finalizers) > 0 {
		r.set(n, corev1.NamespaceFinalizersRemaining, true, "SomeFinalizersRemain", "Some content in the namespace has finalizers remaining: "+count(left.finalizers, "%s in %d resource instances"))
	} else {
		r.set(n, corev1.NamespaceFinalizersRemaining, false, "ContentHasNoFinalizers", "All content-preserving finalizers finished")
	}
	if equality.Semantic.DeepEqual(*before, n.Status) {
		return nil
	}
	if err := r.Client.Status().Update(ctx, n); err != nil {
		return fmt.Errorf("write conditions of namespace %q: %w", n.Name, err)
	}
	return nil
}

func count(m map[string]int, format string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf(format, k, m[k]))
	}
	return strings.Join(parts, ", ")
}

func (r *Reconciler) set(n *corev1.Namespace, kind corev1.NamespaceConditionType, bad bool, reason, message string) {
	want := corev1.NamespaceCondition{Type: kind, Status: corev1.ConditionFalse, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(r.Clock.Now())}
	if bad {
		want.Status = corev1.ConditionTrue
	}
	for i := range n.Status.Conditions {
		c := &n.Status.Conditions[i]
		if c.Type != kind {
			continue
		}
		if c.Status == want.Status {
			want.LastTransitionTime = c.LastTransitionTime
		}
		*c = want
		return
	}
	n.Status.Conditions = append(n.Status.Conditions, want)
}
