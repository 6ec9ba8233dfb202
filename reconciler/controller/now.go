package controller

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// OnNow is On for a kind that may go away again, such as a custom resource's.
// Its source asks for the kind once, where On's asks again and again for a
// kind that is not there: a kind that has gone tells nothing.
func OnNow[T client.Object, R comparable](c cache.Cache, kind T, requests func(ctx context.Context, before, after T) []R) source.TypedSource[R] {
	return source.TypedFunc[R](func(ctx context.Context, q workqueue.TypedRateLimitingInterface[R]) error {
		informer, err := c.GetInformer(ctx, kind)
		if meta.IsNoMatchError(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("watch %T: %w", kind, err)
		}
		var none T
		tell := func(before, after T) {
			for _, r := range requests(ctx, before, after) {
				q.Add(r)
			}
		}
		_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { tell(none, o.(T)) },
			UpdateFunc: func(before, after any) { tell(before.(T), after.(T)) },
			DeleteFunc: func(o any) { tell(toldLast[T](o), none) },
		})
		return err
	})
}

// toldLast is an object that has gone: as it was, or as it was last heard of.
func toldLast[T client.Object](o any) T {
	if lost, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
		o = lost.Obj
	}
	return o.(T)
}
