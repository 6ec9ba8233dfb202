package inproc

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/write"
)

type subresourceClient struct {
	peerClient
	name string
}

var _ client.SubResourceClient = subresourceClient{}

func (c peerClient) Status() client.SubResourceWriter { return c.SubResource("status") }

func (c peerClient) SubResource(name string) client.SubResourceClient {
	return subresourceClient{c, name}
}

func (s subresourceClient) Get(ctx context.Context, o, out client.Object, options ...client.SubResourceGetOption) error {
	k, err := s.server.kindOf(o)
	if err != nil {
		return err
	}
	sub, ok := k.Subresources[s.name]
	if !ok || sub.Get == nil {
		return errNoSubresource(k, s.name)
	}
	view, err := s.current(ctx, "")
	if err != nil {
		return err
	}
	err = write.Authorize(s.server.Write.Authorizer, view, s.identity, write.Attributes{
		Verb: "get", Resource: k.Served(), Version: k.GVK.Version, Subresource: s.name, Namespace: o.GetNamespace(), Name: o.GetName(),
	})
	if err != nil {
		return err
	}
	stored, ok := view.Get(k.Ref(o.GetNamespace(), o.GetName()))
	if !ok {
		return apierrors.NewNotFound(k.Served(), o.GetName())
	}
	parameter, err := sub.Get(stored)
	if err != nil {
		return err
	}
	return into(made(sub.GVK), parameter, out)
}

func (s subresourceClient) Create(ctx context.Context, o, body client.Object, options ...client.SubResourceCreateOption) error {
	opts := (&client.SubResourceCreateOptions{}).ApplyOptions(options)
	k, change, err := s.change(txn.Create, o)
	if err != nil {
		return err
	}
	if request, ok := body.(*authenticationv1.TokenRequest); ok && s.name == "token" {
		return s.token(ctx, k, change, o, request)
	}
	change.Subresource, change.Object, change.FieldManager = s.name, body, opts.FieldManager
	return s.do(ctx, k, change, opts.DryRun, nil)
}

// token answers a token request, which writes nothing, and has it audited.
func (s subresourceClient) token(ctx context.Context, k *kind.Kind, change txn.Change, o client.Object, request *authenticationv1.TokenRequest) error {
	if s.server.Tokens == nil {
		return errNoSubresource(k, s.name)
	}
	change.Subresource, change.Object = s.name, request
	w := Written{Identity: s.identity, Kind: k, Change: &change}
	issued, err := s.issue(ctx, k, o, request, &w.Done.Told)
	if issued != nil {
		w.Answer = issued
	}
	if w.Err = err; s.server.Audit != nil {
		s.server.Audit.Wrote(w)
	}
	if err != nil {
		return err
	}
	issued.DeepCopyInto(request)
	return nil
}

func (s subresourceClient) issue(ctx context.Context, k *kind.Kind, o client.Object, request *authenticationv1.TokenRequest, told *write.Told) (*authenticationv1.TokenRequest, error) {
	view, err := s.current(ctx, "")
	if err != nil {
		return nil, err
	}
	decision, err := write.Decide(s.server.Write.Authorizer, view, s.identity, write.Attributes{
		Verb: "create", Resource: k.Served(), Version: k.GVK.Version, Subresource: s.name, Namespace: o.GetNamespace(), Name: o.GetName(),
	})
	if told.Reason = decision.Reason; err != nil {
		return nil, err
	}
	return s.server.Tokens.Issue(view, o.GetNamespace(), o.GetName(), request)
}

func (s subresourceClient) Update(ctx context.Context, o client.Object, options ...client.SubResourceUpdateOption) error {
	opts := (&client.SubResourceUpdateOptions{}).ApplyOptions(options)
	k, change, err := s.change(txn.Update, o)
	if err != nil {
		return err
	}
	body := o
	if opts.SubResourceBody != nil {
		body = opts.SubResourceBody
		if body.GetName() == "" {
			body.SetName(o.GetName())
			body.SetNamespace(o.GetNamespace())
		}
	}
	change.Subresource, change.Object, change.FieldManager = s.name, body, opts.FieldManager
	if !k.Subresources[s.name].GVK.Empty() && opts.SubResourceBody == nil {
		return apierrors.NewBadRequest(errBody.Error())
	}
	return s.do(ctx, k, change, opts.DryRun, body)
}

func (s subresourceClient) Patch(ctx context.Context, o client.Object, patch client.Patch, options ...client.SubResourcePatchOption) error {
	opts := (&client.SubResourcePatchOptions{}).ApplyOptions(options)
	body := o
	if opts.SubResourceBody != nil {
		body = opts.SubResourceBody
	}
	return s.patch(ctx, o, body, patch, &opts.PatchOptions, s.name)
}

func (s subresourceClient) Apply(ctx context.Context, configuration runtime.ApplyConfiguration, options ...client.SubResourceApplyOption) error {
	opts := (&client.SubResourceApplyOptions{}).ApplyOpts(options)
	return s.apply(ctx, configuration, s.name, &opts.ApplyOptions)
}
