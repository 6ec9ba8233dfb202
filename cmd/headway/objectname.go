package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/api/txn/remote"
	"github.com/headway-sh/headway/gitsource/plan"
)

// namedObject is what a person means by deploy/web.
type namedObject struct {
	ref txn.Ref
	gvk schema.GroupVersionKind
}

// nameObject finds out which object a person means by deploy/web.
func nameObject(c *cluster, namespace, name string) (namedObject, error) {
	kind, name, ok := strings.Cut(name, "/")
	if !ok || kind == "" || name == "" {
		return namedObject{}, exitCode{exitError, fmt.Errorf("write the object as KIND/NAME, for example deploy/web")}
	}
	d, err := discovery.NewDiscoveryClientForConfig(c.config)
	if err != nil {
		return namedObject{}, err
	}
	mapper := restmapper.NewShortcutExpander(c.RESTMapper(), d, nil)
	gvr, err := mapper.ResourceFor(schema.ParseGroupResource(kind).WithVersion(""))
	if err != nil {
		return namedObject{}, err
	}
	gvk, err := mapper.KindFor(gvr)
	if err != nil {
		return namedObject{}, err
	}
	mapping, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return namedObject{}, err
	}
	o := namedObject{ref: txn.Ref{Resource: gvr.GroupResource(), Name: name}, gvk: gvk}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		o.ref.Namespace = namespace
	}
	return o, nil
}

// live reads the object; it is nil when it is not in the cluster.
func (o *namedObject) live(ctx context.Context, c client.Reader) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(o.gvk)
	err := c.Get(ctx, client.ObjectKey{Namespace: o.ref.Namespace, Name: o.ref.Name}, u)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return u, err
}

// owned is an object that a source has in its inventory.
type owned struct {
	source string
	head   plan.Head
	entry  plan.Entry
}

// inventoriesOf reads what the sources have in the cluster, by source.
func inventoriesOf(ctx context.Context, c *cluster) (map[string]*plan.Inventory, error) {
	notes, err := notesOf(ctx, c.config, plan.Prefix)
	if err != nil {
		return nil, fmt.Errorf("read inventories: %w", err)
	}
	return plan.Load(notes)
}

// ownerOf finds the source that an object comes from; nil when it is none.
func ownerOf(all map[string]*plan.Inventory, ref txn.Ref) *owned {
	for source, i := range all {
		if e, ok := i.Entries[ref]; ok {
			return &owned{source, i.Head, e}
		}
	}
	return nil
}

// notesOf reads what the engine has written down under a prefix.
func notesOf(ctx context.Context, config *rest.Config, prefix string) (_ []txn.Note, err error) {
	scheme, err := userScheme()
	if err != nil {
		return nil, err
	}
	http, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	defer http.CloseIdleConnections()
	c, err := remote.New(remote.Config{URL: config.Host, HTTP: http, Scheme: scheme})
	if err != nil {
		return nil, err
	}
	return c.Notes(ctx, prefix)
}

// errNotInGit says that no source has an object.
var errNotInGit = errors.New("no source has this object in git; \"headway get unmanaged\" lists all that none has")
