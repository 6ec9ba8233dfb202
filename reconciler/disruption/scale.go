package disruption

import (
	"context"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/headway-sh/headway/reconciler/controller"
)

// onScale looks at the budgets of what a controller makes when its number
// changes: a budget counts pods that are wanted, also when they cannot be made.
func onScale[T client.Object](r *Reconciler, kind T, of func(T) (*int32, labels.Set)) source.TypedSource[Request] {
	return controller.On(r.Cache, kind, func(ctx context.Context, before, after T) []Request {
		there := controller.Present(before, after)
		if len(there) < 2 {
			return nil // its pods come and go too
		}
		was, _ := of(before)
		is, template := of(after)
		if ptr.Equal(was, is) {
			return nil
		}
		return r.budgetsOf(ctx, after.GetNamespace(), template)
	})
}
