// Package endpoints keeps the older Endpoints object beside a Service's
// EndpointSlices, for clients that still read it.
package endpoints

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/endpoint"
)

// Name is the controller's, and its service account's in kube-system.
const Name = "endpoint-controller"

const (
	managedByLabel = "endpoints.kubernetes.io/managed-by"
	overCapacity   = "endpoints.kubernetes.io/over-capacity"
	maxAddresses   = 1000
)

// Reconciler writes the Endpoints of one Service at a time.
type Reconciler struct{ controller.Deps }

// New returns the controller.
func New(deps controller.Deps) (controller.Runnable, error) {
	return controller.New(Name, deps, 5, &Reconciler{deps},
		controller.Self(deps.Cache, &corev1.Service{}),
		controller.On(deps.Cache, &corev1.Pod{}, endpoint.Services(deps)))
}

// Reconcile does one pass over one Service.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	s := &corev1.Service{}
	if err := r.Client.Get(ctx, req.NamespacedName, s); err != nil {
		if !apierrors.IsNotFound(err) {
			return reconcile.Result{}, err
		}
		return reconcile.Result{}, r.remove(ctx, req)
	}
	if !endpoint.Managed(s) {
		return reconcile.Result{}, nil
	}
	pods, err := endpoint.Pods(ctx, r.Client, s)
	if err != nil {
		return reconcile.Result{}, err
	}
	have := &corev1.Endpoints{}
	err = r.Client.Get(ctx, req.NamespacedName, have)
	if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("read endpoints: %w", err)
	}
	want := have.DeepCopy()
	want.Namespace, want.Name = s.Namespace, s.Name
	Fill(want, s, pods)
	switch {
	case err != nil:
		err = r.Client.Create(ctx, want)
	case !equality.Semantic.DeepEqual(have, want):
		err = r.Client.Update(ctx, want)
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("write endpoints: %w", err)
	}
	return reconcile.Result{}, nil
}

func (r *Reconciler) remove(ctx context.Context, req reconcile.Request) error {
	have := &corev1.Endpoints{}
	if err := r.Client.Get(ctx, req.NamespacedName, have); err != nil {
		return client.IgnoreNotFound(err)
	}
	if have.Labels[managedByLabel] != Name {
		return nil // not ours: kept by somebody for a Service without selector
	}
	return client.IgnoreNotFound(r.Client.Delete(ctx, have))
}

// Fill computes labels and subsets from the pods, one subset for each list of
// ports. Only the Service's first address family is shown.
func Fill(e *corev1.Endpoints, s *corev1.Service, pods []*corev1.Pod) {
	e.Labels = map[string]string{managedByLabel: Name}
	for k, v := range s.Labels {
		e.Labels[k] = v
	}
	if endpoint.Headless(s) {
		e.Labels[corev1.IsHeadlessService] = ""
	}
	delete(e.Annotations, overCapacity)
	e.Subsets = nil
	index := map[string]int{}
	for i, found := range endpoint.Of(s, pods, endpoint.Families(s)[0]) {
		if found.Terminating && !s.Spec.PublishNotReadyAddresses {
			continue
		}
		if i >= maxAddresses {
			metav1.SetMetaDataAnnotation(&e.ObjectMeta, overCapacity, "truncated")
			break
		}
		ports, key := portsOf(found.Ports)
		at, ok := index[key]
		if !ok {
			at = len(e.Subsets)
			index[key] = at
			e.Subsets = append(e.Subsets, corev1.EndpointSubset{Ports: ports})
		}
		address := corev1.EndpointAddress{
			IP: found.Address, Hostname: found.Hostname,
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: found.Pod.Namespace, Name: found.Pod.Name, UID: found.Pod.UID},
		}
		if found.Pod.Spec.NodeName != "" {
			address.NodeName = ptr.To(found.Pod.Spec.NodeName)
		}
		if found.Ready {
			e.Subsets[at].Addresses = append(e.Subsets[at].Addresses, address)
		} else {
			e.Subsets[at].NotReadyAddresses = append(e.Subsets[at].NotReadyAddresses, address)
		}
	}
}

func portsOf(in []endpoint.Port) ([]corev1.EndpointPort, string) {
	var out []corev1.EndpointPort
	for _, p := range in {
		port := corev1.EndpointPort{Name: p.Name, Port: p.Number, Protocol: p.Protocol}
		if p.AppProtocol != "" {
			port.AppProtocol = ptr.To(p.AppProtocol)
		}
		out = append(out, port)
	}
	text, err := json.Marshal(out)
	if err != nil {
		return out, "" // cannot happen with plain values; one subset for all then
	}
	return out, string(text)
}
