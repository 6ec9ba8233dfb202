package inproc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/paging"
	"github.com/headway-sh/headway/apiserver/store"
	"github.com/headway-sh/headway/apiserver/write"
)

// peerClient reads what is current, or what is here, and writes through the
// write path.
type peerClient struct {
	*Peer
	local bool
}

var _ client.WithWatch = peerClient{}

// Client is the peer's client. Its reads have everything that anyone has been
// told is written.
func (p *Peer) Client() client.WithWatch { return peerClient{p, false} }

// LocalClient is a client whose reads are answered from what this process has:
// they include the process's own acknowledged writes and cost no round trip,
// but may lack what other servers have just acknowledged. Level-triggered
// components want this one.
func (p *Peer) LocalClient() client.WithWatch { return peerClient{p, true} }

func (c peerClient) Scheme() *runtime.Scheme     { return c.server.Scheme }
func (c peerClient) RESTMapper() meta.RESTMapper { return c.server.mapper }

func (c peerClient) GroupVersionKindFor(o runtime.Object) (schema.GroupVersionKind, error) {
	k, err := c.server.kindOf(o)
	if err != nil {
		return schema.GroupVersionKind{}, err
	}
	return k.GVK, nil
}

func (c peerClient) IsObjectNamespaced(o runtime.Object) (bool, error) {
	k, err := c.server.kindOf(o)
	if err != nil {
		return false, err
	}
	return k.Namespaced, nil
}

// current is the View of a read: what is here when version is "0", else what
// is current.
func (c peerClient) current(ctx context.Context, version string) (*store.Snapshot, error) {
	if version == "0" || c.local {
		return c.server.Store.Snapshot(), nil
	}
	s, err := c.server.Store.Current(ctx)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return s, nil
}

func (c peerClient) Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
	k, err := c.server.kindOf(o)
	if err != nil {
		return err
	}
	getOptions := (&client.GetOptions{}).ApplyOptions(options).AsGetOptions()
	view, err := c.current(ctx, getOptions.ResourceVersion)
	if err != nil {
		return err
	}
	if err := c.may(view, k, "get", key.Namespace, key.Name); err != nil {
		return err
	}
	shown, err := c.computed(ctx, view, k, key.Namespace)
	if err != nil {
		return err
	}
	return get(shown, k, key, o)
}

func (c peerClient) List(ctx context.Context, out client.ObjectList, options ...client.ListOption) error {
	k, err := c.server.kindOf(out)
	if err != nil {
		return err
	}
	o := listOptions(options)
	view, from, err := c.page(ctx, k, o.AsListOptions())
	if err != nil {
		return err
	}
	if err := c.mayList(c.server.Store.Snapshot(), k, "list", o); err != nil {
		return err
	}
	var after *txn.Ref
	if from.After != (txn.Ref{}) {
		after = &from.After
	}
	shown, err := c.computed(ctx, view, k, o.Namespace)
	if err != nil {
		return err
	}
	last, err := list(shown, k, out, o, nil, after)
	if err != nil {
		return err
	}
	out.SetContinue("")
	if last != nil {
		out.SetContinue(paging.Encode(k, paging.Place{Revision: view.Revision(), After: *last, Begun: from.Begun}))
	}
	return nil
}

// computed is the View with the objects of a kind that is made when it is read.
func (c peerClient) computed(ctx context.Context, view txn.View, k *kind.Kind, namespace string) (txn.View, error) {
	if k.Computed == nil {
		return view, nil
	}
	all, err := k.Computed(ctx, view, namespace)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", k.Plural, err)
	}
	made := make(map[txn.Ref]txn.Object, len(all))
	for _, o := range all {
		made[k.Ref(o.GetNamespace(), o.GetName())] = o
	}
	return txn.Overlay(view, made, nil), nil
}

// page is the View of a list, and the place in it that a chunk begins at.
func (c peerClient) page(ctx context.Context, k *kind.Kind, o *metav1.ListOptions) (*store.Snapshot, paging.Place, error) {
	now := c.server.Write.Clock.Now()
	if o.Continue == "" {
		view, err := c.current(ctx, o.ResourceVersion)
		return view, paging.Place{Begun: now}, err
	}
	from, err := paging.Decode(k, o.Continue)
	switch {
	case err != nil:
		return nil, paging.Place{}, err
	case from.Revision < 0:
		view, err := c.current(ctx, "")
		from.Begun = now
		return view, *from, err
	case from.Expired(now):
		return nil, *from, paging.ExpiredError(k, from.After)
	}
	view, err := c.server.Store.At(ctx, from.Revision, k.Resource())
	if store.IsExpired(err) {
		err = paging.ExpiredError(k, from.After)
	}
	return view, *from, err
}

// do makes a change and puts the outcome into out.
func (c peerClient) do(ctx context.Context, k *kind.Kind, change txn.Change, dryRun []string, out client.Object) error {
	done, err := c.write(ctx, k, change, write.Options{DryRun: len(dryRun) > 0, Epoch: c.epoch})
	if err != nil {
		return err
	}
	sub, isSub := k.Subresources[change.Subresource]
	switch {
	case out == nil || isSub && sub.Set != nil && sub.Get == nil:
		return nil // a creating subresource such as binding has nothing to show
	case isSub && sub.Get != nil:
		parameter, err := sub.Get(done.Object)
		if err != nil {
			return err
		}
		return into(made(sub.GVK), parameter, out)
	}
	return into(k, done.Object, out)
}

// write makes a change and has it audited.
func (c peerClient) write(ctx context.Context, k *kind.Kind, change txn.Change, options write.Options) (write.Done, error) {
	done, err := c.server.Write.Do(ctx, c.identity, change, options)
	if c.server.Audit != nil {
		c.server.Audit.Wrote(Written{Identity: c.identity, Kind: k, Change: &change, Done: done, Err: err})
	}
	return done, err
}

// change begins a change of an object.
func (c peerClient) change(verb txn.Verb, o client.Object) (*kind.Kind, txn.Change, error) {
	k, err := c.server.kindOf(o)
	if err != nil {
		return nil, txn.Change{}, err
	}
	namespace := o.GetNamespace()
	if !k.Namespaced {
		namespace = ""
	}
	ref := txn.Ref{Resource: k.Served(), Namespace: namespace, Name: o.GetName()}
	return k, txn.Change{Verb: verb, Ref: ref, Version: k.GVK.Version}, nil
}

func (c peerClient) Create(ctx context.Context, o client.Object, options ...client.CreateOption) error {
	k, change, err := c.change(txn.Create, o)
	if err != nil {
		return err
	}
	opts := (&client.CreateOptions{}).ApplyOptions(options)
	change.Object, change.FieldManager, change.FieldValidation = o, opts.FieldManager, opts.FieldValidation
	return c.do(ctx, k, change, opts.DryRun, o)
}

func (c peerClient) Update(ctx context.Context, o client.Object, options ...client.UpdateOption) error {
	k, change, err := c.change(txn.Update, o)
	if err != nil {
		return err
	}
	opts := (&client.UpdateOptions{}).ApplyOptions(options)
	change.Object, change.FieldManager, change.FieldValidation = o, opts.FieldManager, opts.FieldValidation
	return c.do(ctx, k, change, opts.DryRun, o)
}

func (c peerClient) Patch(ctx context.Context, o client.Object, patch client.Patch, options ...client.PatchOption) error {
	opts := (&client.PatchOptions{}).ApplyOptions(options)
	return c.patch(ctx, o, o, patch, opts, "")
}

// patch patches o through a subresource, or itself; body is what the patch is
// computed from and filled with the outcome.
func (c peerClient) patch(ctx context.Context, o, body client.Object, patch client.Patch, opts *client.PatchOptions, subresource string) error {
	k, change, err := c.change(txn.Patch, o)
	if err != nil {
		return err
	}
	data, err := patch.Data(body)
	if err != nil {
		return fmt.Errorf("compute patch: %w", err)
	}
	change.Subresource, change.FieldManager, change.FieldValidation = subresource, opts.FieldManager, opts.FieldValidation
	change.Patch, change.PatchType = data, patch.Type()
	if patch.Type() == types.ApplyPatchType {
		u, err := unstructuredOf(json.RawMessage(data))
		if err != nil {
			return err
		}
		change.Verb, change.Object, change.Patch = txn.Apply, u, nil
		change.Force = opts.Force != nil && *opts.Force
	}
	return c.do(ctx, k, change, opts.DryRun, body)
}

func (c peerClient) Apply(ctx context.Context, configuration runtime.ApplyConfiguration, options ...client.ApplyOption) error {
	opts := (&client.ApplyOptions{}).ApplyOptions(options)
	return c.apply(ctx, configuration, "", opts)
}

func (c peerClient) apply(ctx context.Context, configuration runtime.ApplyConfiguration, subresource string, opts *client.ApplyOptions) error {
	u, err := unstructuredOf(configuration)
	if err != nil {
		return err
	}
	k, change, err := c.change(txn.Apply, u)
	if err != nil {
		return err
	}
	change.Object, change.Subresource, change.FieldManager = u, subresource, opts.FieldManager
	change.Force = opts.Force != nil && *opts.Force
	done, err := c.write(ctx, k, change, write.Options{DryRun: len(opts.DryRun) > 0, Epoch: c.epoch})
	if err != nil {
		return err
	}
	applied, err := k.FromStored(done.Object)
	if err != nil {
		return err
	}
	b, err := json.Marshal(applied)
	if err != nil {
		return fmt.Errorf("encode what was applied: %w", err)
	}
	return json.Unmarshal(b, configuration)
}

func (c peerClient) Delete(ctx context.Context, o client.Object, options ...client.DeleteOption) error {
	k, change, err := c.change(txn.Delete, o)
	if err != nil {
		return err
	}
	opts := (&client.DeleteOptions{}).ApplyOptions(options)
	change.GracePeriod, change.Preconditions, change.Propagation = opts.GracePeriodSeconds, opts.Preconditions, opts.PropagationPolicy
	return c.do(ctx, k, change, opts.DryRun, nil)
}

func (c peerClient) DeleteAllOf(ctx context.Context, o client.Object, options ...client.DeleteAllOfOption) error {
	k, err := c.server.kindOf(o)
	if err != nil {
		return err
	}
	opts := (&client.DeleteAllOfOptions{}).ApplyOptions(options)
	if err := supported(k, opts.FieldSelector); err != nil {
		return err
	}
	collection := write.Collection{
		Resource: k.Served(), Version: k.GVK.Version, Namespace: opts.Namespace, Labels: opts.LabelSelector, Fields: opts.FieldSelector,
		Delete: txn.Change{GracePeriod: opts.GracePeriodSeconds, Preconditions: opts.Preconditions, Propagation: opts.PropagationPolicy},
	}
	gone, _, err := c.server.Write.DeleteCollection(ctx, c.identity, collection, write.Options{DryRun: len(opts.DryRun) > 0, Epoch: c.epoch})
	if c.server.Audit != nil {
		c.server.Audit.Cleared(c.identity, k, &collection, gone, err)
	}
	return err
}

// errNoSubresource words a subresource that is not served in process.
func errNoSubresource(k *kind.Kind, name string) error {
	return apierrors.NewMethodNotSupported(schema.GroupResource{Group: k.GVK.Group, Resource: k.Plural + "/" + name}, "get")
}

var errBody = errors.New("the subresource's own object is required")
