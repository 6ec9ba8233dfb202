package rest

import (
	"context"
	"iter"
	"slices"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/paging"
	"github.com/headway-sh/headway/apiserver/store"
)

// chunk is the part of a list that one request gets.
type chunk struct {
	entries []*store.Entry
	meta    metav1.ListMeta
}

// list finds the chunk that the options ask for.
func (h *Handler) list(ctx context.Context, s *selector, options *metav1.ListOptions) (*chunk, error) {
	if options.Continue != "" {
		return h.listOn(ctx, s, options)
	}
	snapshot, err := h.snapshotFor(ctx, s.kind, options)
	if err != nil {
		return nil, err
	}
	if s.kind.Computed != nil {
		return h.compute(ctx, s, snapshot)
	}
	return h.collect(s, snapshot, options, nil), nil
}

// snapshotFor picks the state that resourceVersion and its match ask for:
//
//	match         resourceVersion: none    "0"    any other
//	none          the newest               any    not older; exactly that one with a limit
//	NotOlderThan                           any    not older
//	Exact                                         exactly that one
func (h *Handler) snapshotFor(ctx context.Context, k *kind.Kind, options *metav1.ListOptions) (*store.Snapshot, error) {
	revision, err := parseRevision(options.ResourceVersion)
	switch {
	case err != nil:
		return nil, err
	case options.ResourceVersion == "":
		return h.reader.Current(ctx)
	case revision == 0:
		return h.reader.Snapshot(), nil
	}
	snapshot, err := h.notBefore(ctx, revision)
	if err != nil || !isExact(options) {
		return snapshot, err
	}
	snapshot, err = h.reader.At(ctx, revision, k.Resource())
	if store.IsExpired(err) {
		return nil, apierrors.NewResourceExpired("The resourceVersion for the provided list is too old.")
	}
	return snapshot, err
}

func isExact(o *metav1.ListOptions) bool {
	return o.ResourceVersionMatch == metav1.ResourceVersionMatchExact || o.ResourceVersionMatch == "" && o.Limit > 0
}

// notBefore waits for a revision, but not for one that does not exist yet.
func (h *Handler) notBefore(ctx context.Context, revision int64) (*store.Snapshot, error) {
	if s := h.reader.Snapshot(); s.Revision() >= revision {
		return s, nil
	}
	current, err := h.reader.Current(ctx)
	if err != nil {
		return nil, err
	}
	if current.Revision() < revision {
		return nil, tooLarge(revision, current.Revision())
	}
	return current, nil
}

// listOn goes on with a chunked list.
func (h *Handler) listOn(ctx context.Context, s *selector, options *metav1.ListOptions) (*chunk, error) {
	if options.ResourceVersion != "" && options.ResourceVersion != "0" {
		return nil, apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
	}
	from, err := paging.Decode(s.kind, options.Continue)
	if err != nil {
		return nil, err
	}
	if from.Revision < 0 {
		snapshot, err := h.reader.Current(ctx)
		if err != nil {
			return nil, err
		}
		from.Begun = h.clock.Now() // from here on the list is of this one revision
		return h.collect(s, snapshot, options, from), nil
	}
	if from.Expired(h.clock.Now()) {
		return nil, paging.ExpiredError(s.kind, from.After)
	}
	if _, err := h.notBefore(ctx, from.Revision); err != nil {
		return nil, err
	}
	snapshot, err := h.reader.At(ctx, from.Revision, s.kind.Resource())
	if store.IsExpired(err) {
		return nil, paging.ExpiredError(s.kind, from.After)
	}
	if err != nil {
		return nil, err
	}
	return h.collect(s, snapshot, options, from), nil
}

// collect takes at most options.Limit matching entries, from where a chunked
// list goes on or, with a nil Place, from the beginning.
func (h *Handler) collect(s *selector, snapshot *store.Snapshot, options *metav1.ListOptions, from *paging.Place) *chunk {
	var after *txn.Ref
	next := paging.Place{Revision: snapshot.Revision(), Begun: h.clock.Now()}
	if from != nil {
		after, next.Begun = &from.After, from.Begun
	}
	part := &chunk{meta: metav1.ListMeta{ResourceVersion: strconv.FormatInt(snapshot.Revision(), 10)}}
	limit := int(min(options.Limit, 1<<31-1))
	remaining := int64(0)
	for e := range candidates(s, snapshot, after) {
		if !s.matches(e.Object) {
			continue
		}
		if limit == 0 || len(part.entries) < limit {
			part.entries = append(part.entries, e)
			continue
		}
		if remaining++; !s.everything() {
			break // how many match is not counted: it would cost a full pass
		}
	}
	if remaining == 0 {
		return part
	}
	next.After = part.entries[limit-1].Ref
	part.meta.Continue = paging.Encode(s.kind, next)
	if s.everything() {
		part.meta.RemainingItemCount = &remaining
	}
	return part
}

// candidates yields, in order, the entries after a reference that may match:
// one by its name, a few by an index, or all of the namespace.
func candidates(s *selector, snapshot *store.Snapshot, after *txn.Ref) iter.Seq[*store.Entry] {
	resource := s.kind.Resource()
	var from iter.Seq[*store.Entry]
	switch {
	case s.name != "" && (s.namespace != "" || !s.kind.Namespaced):
		e := snapshot.Entry(s.kind.Ref(s.namespace, s.name))
		if e == nil {
			return slices.Values[[]*store.Entry](nil)
		}
		from = slices.Values([]*store.Entry{e})
	case s.index != "" && snapshot.HasIndex(resource, s.index): // custom resources' indexes may be younger, or gone
		from = snapshot.EntriesIndexed(resource, s.index, s.value)
	case after != nil:
		from = snapshot.EntriesFrom(resource, s.namespace, after.Namespace, after.Name)
	default:
		return snapshot.Entries(resource, s.namespace)
	}
	return func(yield func(*store.Entry) bool) {
		for e := range from {
			if after != nil && e.Ref.Compare(*after) <= 0 {
				continue
			}
			if !yield(e) {
				return
			}
		}
	}
}

// compute makes the list of a kind that is not stored, which is never chunked:
// there is no revision at which it could go on.
func (h *Handler) compute(ctx context.Context, s *selector, snapshot *store.Snapshot) (*chunk, error) {
	all, err := computed(ctx, s.kind, snapshot, s.namespace)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(e *store.Entry) bool { return !s.matches(e.Object) })
	return &chunk{entries: all, meta: metav1.ListMeta{ResourceVersion: strconv.FormatInt(snapshot.Revision(), 10)}}, nil
}

// computed are the entries of a kind that is not stored.
func computed(ctx context.Context, k *kind.Kind, snapshot *store.Snapshot, namespace string) ([]*store.Entry, error) {
	objects, err := k.Computed(ctx, snapshot, namespace)
	if err != nil {
		return nil, err
	}
	var all []*store.Entry
	for _, o := range objects {
		all = append(all, &store.Entry{Ref: k.Ref(o.GetNamespace(), o.GetName()), Object: o})
	}
	return all, nil
}
