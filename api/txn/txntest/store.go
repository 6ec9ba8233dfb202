package txntest

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
)

// Store is the emulator. The zero value is not usable; see New.
type Store struct {
	scheme *runtime.Scheme
	mapper meta.RESTMapper
	clock  clock.PassiveClock

	mu        sync.Mutex // guards all below
	revision  int64
	objects   map[schema.GroupResource]map[txn.Ref]txn.Object // inner maps are never changed once published
	revisions map[txn.Ref]int64
	notes     map[string][]byte
	epochs    map[string]int64
	plans     map[*txn.Result][]planned
	conflicts int
	commits   int
	reject    func(txn.Identity, txn.Change) error
	guards    map[*guard]struct{}
	observers map[*observer]struct{}
}

type guard struct{ txn.Guard }

var _ txn.Interface = (*Store)(nil)

// New makes an empty Store that knows the built-in kinds, the project's own
// and the namespace default.
func New(clock clock.PassiveClock) *Store {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(s); err != nil {
			panic(fmt.Sprintf("build scheme: %v", err)) // both are fixed lists
		}
	}
	return &Store{
		scheme: s, mapper: Mapper(s), clock: clock, revision: 1,
		objects: map[schema.GroupResource]map[txn.Ref]txn.Object{}, revisions: map[txn.Ref]int64{},
		notes: map[string][]byte{}, epochs: map[string]int64{}, plans: map[*txn.Result][]planned{},
		guards: map[*guard]struct{}{}, observers: map[*observer]struct{}{},
	}
}

// Mapper maps the kinds of a scheme as the API does.
func Mapper(s *runtime.Scheme) meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(s.PrioritizedVersionsAllGroups())
	cluster := []string{"Namespace", "Node", "PersistentVolume", "ClusterRole", "ClusterRoleBinding", "CertificateSigningRequest",
		"StorageClass", "PriorityClass", "RuntimeClass", "IngressClass", "GitSource", "Release", "Plan"}
	for gvk := range s.AllKnownTypes() {
		if strings.HasSuffix(gvk.Kind, "List") || strings.HasSuffix(gvk.Kind, "Options") || gvk.Version == runtime.APIVersionInternal {
			continue
		}
		scope := meta.RESTScopeNamespace
		if slices.Contains(cluster, gvk.Kind) {
			scope = meta.RESTScopeRoot
		}
		m.Add(gvk, scope)
	}
	return m
}

// Mapper maps the Store's kinds.
func (s *Store) Mapper() meta.RESTMapper { return s.mapper }

// ConflictNext makes the next n commits fail with a conflict.
func (s *Store) ConflictNext(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conflicts = n
}

// Reject sets what is asked about every change; nil asks nobody.
func (s *Store) Reject(f func(txn.Identity, txn.Change) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reject = f
}

// Commits is how many transactions have written something.
func (s *Store) Commits() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commits
}

// Dump names every object with its revision, sorted.
func (s *Store) Dump() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for ref, revision := range s.revisions {
		out = append(out, fmt.Sprintf("%s @%d", ref, revision))
	}
	slices.Sort(out)
	return out
}

// Do plans and commits changes under an identity.
func (s *Store) Do(ctx context.Context, identity txn.Identity, changes ...txn.Change) (*txn.Committed, error) {
	_, done, err := txn.Run(ctx, s, identity, txn.CommitOptions{}, func(txn.View) ([]txn.Change, error) { return changes, nil })
	return done, err
}

// View implements txn.Interface.
func (s *Store) View(context.Context) (txn.View, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &view{revision: s.revision, objects: maps.Clone(s.objects)}, nil
}

// Notes implements txn.Interface.
func (s *Store) Notes(_ context.Context, prefix string) ([]txn.Note, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []txn.Note
	for _, key := range slices.Sorted(maps.Keys(s.notes)) {
		if strings.HasPrefix(key, prefix) {
			out = append(out, txn.Note{Key: key, Value: s.notes[key]})
		}
	}
	return out, nil
}

// Acquire implements txn.Interface.
func (s *Store) Acquire(_ context.Context, name string) (txn.Epoch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epochs[name]++
	return txn.Epoch{Name: name, Number: s.epochs[name]}, nil
}

// Guard implements txn.Interface.
func (s *Store) Guard(g txn.Guard) func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	entry := &guard{g}
	s.guards[entry] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.guards, entry)
	}
}

type view struct {
	revision int64
	objects  map[schema.GroupResource]map[txn.Ref]txn.Object
}

func (v *view) Revision() int64 { return v.revision }

func (v *view) Get(ref txn.Ref) (txn.Object, bool) {
	o, ok := v.objects[ref.Resource][ref]
	return o, ok
}

func (v *view) Each(resource schema.GroupResource, namespace string) iter.Seq[txn.Object] {
	return func(yield func(txn.Object) bool) {
		for _, ref := range slices.SortedFunc(maps.Keys(v.objects[resource]), txn.Ref.Compare) {
			if (namespace == "" || ref.Namespace == namespace) && !yield(v.objects[resource][ref]) {
				return
			}
		}
	}
}

func (v *view) EachIndexed(resource schema.GroupResource, index, _ string) iter.Seq[txn.Object] {
	panic(fmt.Sprintf("%s has no index %q: the emulator keeps none", resource, index))
}
