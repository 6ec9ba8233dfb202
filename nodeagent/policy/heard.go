package policy

import (
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func (e *Enforcer) replacePolicies(all []*networkingv1.NetworkPolicy) {
	e.mu.Lock()
	defer e.mu.Unlock()
	named := map[types.NamespacedName]bool{}
	for _, o := range all {
		named[keyOf(o)] = true
		e.policy(o)
	}
	for name := range e.policies {
		if !named[name] {
			e.forget(name)
		}
	}
	e.heard[policyList], e.unsaved = true, true
	e.nudge()
}

func (e *Enforcer) setPolicy(o *networkingv1.NetworkPolicy) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.policy(o)
}

func (e *Enforcer) deletePolicy(o *networkingv1.NetworkPolicy) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.forget(keyOf(o))
}

func keyOf(o client.Object) types.NamespacedName { return client.ObjectKeyFromObject(o) }

func (e *Enforcer) policy(o *networkingv1.NetworkPolicy) {
	if have := e.policies[keyOf(o)]; have != nil && have.UID == o.UID && have.Generation == o.Generation && o.Generation > 0 {
		return
	}
	e.policies[keyOf(o)], e.unsaved = o, true
	e.model.SetPolicy(o)
	e.nudge()
}

func (e *Enforcer) forget(name types.NamespacedName) {
	delete(e.policies, name)
	e.unsaved = true
	e.model.DeletePolicy(name)
	e.nudge()
}

func (e *Enforcer) replaceSlices(all []*discoveryv1.EndpointSlice) {
	e.mu.Lock()
	defer e.mu.Unlock()
	named := map[string]bool{}
	for _, o := range all {
		named[o.Name] = true
		e.slice(o)
	}
	for name, o := range e.slices {
		if !named[name] {
			e.forgetSlice(o)
		}
	}
	e.heard[sliceList], e.unsaved = true, true
	e.nudge()
}

func (e *Enforcer) setSlice(o *discoveryv1.EndpointSlice) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.slice(o)
}

func (e *Enforcer) deleteSlice(o *discoveryv1.EndpointSlice) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.forgetSlice(o)
}

func (e *Enforcer) slice(o *discoveryv1.EndpointSlice) {
	e.slices[o.Name], e.unsaved = o, true
	e.model.SetSlice(o)
	e.nudge()
}

func (e *Enforcer) forgetSlice(o *discoveryv1.EndpointSlice) {
	delete(e.slices, o.Name)
	e.unsaved = true
	e.model.DeleteSlice(o)
	e.nudge()
}
