package main

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
)

// scanned are the objects of a cluster, by what they are called and by who
// owns them.
type scanned struct {
	objects  map[txn.Ref]*unstructured.Unstructured
	children map[types.UID][]txn.Ref
}

// passing are kinds that come and go by themselves, or tell of others.
var passing = []schema.GroupResource{
	{Resource: "events"}, {Group: "events.k8s.io", Resource: "events"}, {Resource: "endpoints"}, {Resource: "componentstatuses"},
	{Group: "coordination.k8s.io", Resource: "leases"}, {Group: "discovery.k8s.io", Resource: "endpointslices"},
	{Group: "storage.k8s.io", Resource: "csinodes"}, {Resource: "nodes"}, {Group: "certificates.k8s.io", Resource: "certificatesigningrequests"},
	{Group: "networking.k8s.io", Resource: "ipaddresses"}, {Group: "apiregistration.k8s.io", Resource: "apiservices"},
}

// scanPage is how many objects are read at once.
const scanPage = 500

// scan reads every object that is stored and can be listed, in a namespace or in all. The
// person has to be allowed to read them all: a list with holes would lie.
func scan(ctx context.Context, c *cluster, namespace string) (*scanned, error) {
	d, err := discovery.NewDiscoveryClientForConfig(c.config)
	if err != nil {
		return nil, err
	}
	lists, err := d.ServerPreferredResources()
	if err != nil && len(lists) == 0 {
		return nil, fmt.Errorf("ask for the kinds of objects: %w", err)
	}
	s := &scanned{objects: map[txn.Ref]*unstructured.Unstructured{}, children: map[types.UID][]txn.Ref{}}
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, r := range list.APIResources {
			resource := schema.GroupResource{Group: gv.Group, Resource: r.Name}
			if !slices.Contains(r.Verbs, "list") || !slices.Contains(r.Verbs, "watch") || slices.Contains(passing, resource) || gv.Group == v1alpha1.GroupName || namespace != "" && !r.Namespaced {
				continue
			}
			if err := s.list(ctx, c, gv.WithKind(r.Kind), resource, namespace); err != nil {
				return nil, fmt.Errorf("list %s: %w", resource, err)
			}
		}
	}
	return s, nil
}

func (s *scanned) list(ctx context.Context, c client.Reader, gvk schema.GroupVersionKind, resource schema.GroupResource, namespace string) error {
	for token := ""; ; {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
		err := c.List(ctx, list, client.InNamespace(namespace), client.Limit(scanPage), client.Continue(token))
		if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
			return nil // gone meanwhile
		}
		if err != nil {
			return err
		}
		for i := range list.Items {
			o := &list.Items[i]
			ref := txn.Ref{Resource: resource, Namespace: o.GetNamespace(), Name: o.GetName()}
			s.objects[ref] = o
			for _, owner := range o.GetOwnerReferences() {
				s.children[owner.UID] = append(s.children[owner.UID], ref)
			}
		}
		if token = list.GetContinue(); token == "" {
			return nil
		}
	}
}

// refs are the objects in order.
func (s *scanned) refs() []txn.Ref {
	out := make([]txn.Ref, 0, len(s.objects))
	for ref := range s.objects {
		out = append(out, ref)
	}
	slices.SortFunc(out, txn.Ref.Compare)
	return out
}
