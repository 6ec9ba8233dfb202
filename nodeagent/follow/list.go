package follow

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Handler is told what a followed list holds. Calls come one at a time.
type Handler[T client.Object] struct {
	// Replace gets the whole list: at first, and whenever the watch had to
	// start anew. What it does not name is gone.
	Replace func(objects []T)
	// Set gets an object that is new or changed, Delete the last state of one
	// that is gone.
	Set    func(object T)
	Delete func(object T)
}

// List lists and watches until ctx ends. example is an empty object, list makes
// an empty list of the kind; options restrict it.
func List[T client.Object](ctx context.Context, c client.WithWatch, logger *slog.Logger, example T, list func() client.ObjectList, handler Handler[T], options ...client.ListOption) {
	log := logr.FromSlogHandler(logger.Handler())
	r := toolscache.NewReflectorWithOptions(
		&listWatch{client: c, list: list, options: options}, example, &store[T]{handler},
		toolscache.ReflectorOptions{Name: fmt.Sprintf("%T", example), Logger: &log})
	r.RunWithContext(ctx)
}

// store hands a reflector's calls to the handler and keeps nothing itself.
type store[T client.Object] struct{ handler Handler[T] }

func (s *store[T]) Add(o any) error    { return s.set(o) }
func (s *store[T]) Update(o any) error { return s.set(o) }
func (s *store[T]) Resync() error      { return nil }

func (s *store[T]) set(o any) error {
	if object, ok := o.(T); ok {
		s.handler.Set(object)
	}
	return nil
}

func (s *store[T]) Delete(o any) error {
	if object, ok := o.(T); ok {
		s.handler.Delete(object)
	}
	return nil
}

func (s *store[T]) Replace(all []any, _ string) error {
	objects := make([]T, 0, len(all))
	for _, o := range all {
		if object, ok := o.(T); ok {
			objects = append(objects, object)
		}
	}
	s.handler.Replace(objects)
	return nil
}

// listWatch is the reflector's view of the client.
type listWatch struct {
	client  client.WithWatch
	list    func() client.ObjectList
	options []client.ListOption
}

// IsWatchListSemanticsUnSupported makes the reflector list and then watch: the
// lists are a node's and small, and one way works with every client.
func (l *listWatch) IsWatchListSemanticsUnSupported() bool { return true }

func (l *listWatch) List(options metav1.ListOptions) (runtime.Object, error) {
	return l.ListWithContext(context.TODO(), options)
}

func (l *listWatch) Watch(options metav1.ListOptions) (watch.Interface, error) {
	return l.WatchWithContext(context.TODO(), options)
}

func (l *listWatch) ListWithContext(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	list := l.list()
	// A resumed list at an old revision is not worth its pages.
	raw := metav1.ListOptions{ResourceVersion: options.ResourceVersion, ResourceVersionMatch: options.ResourceVersionMatch}
	if err := l.client.List(ctx, list, l.with(&raw)...); err != nil {
		return nil, err
	}
	if !meta.IsListType(list) {
		return nil, fmt.Errorf("list %T: not a list", list)
	}
	return list, nil
}

func (l *listWatch) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	return l.client.Watch(ctx, l.list(), l.with(&options)...)
}

func (l *listWatch) with(raw *metav1.ListOptions) []client.ListOption {
	all := make([]client.ListOption, 0, len(l.options)+1)
	all = append(all, &client.ListOptions{Raw: raw})
	return append(all, l.options...)
}
