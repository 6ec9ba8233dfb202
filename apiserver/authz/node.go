package authz

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/internal/podrefs"
)

// IndexNodeName is the index of pods by the node they are bound to.
const IndexNodeName = "spec.nodeName"

var pods = schema.GroupResource{Resource: "pods"}

// authorizeNode decides what the graph of a node's own objects decides:
// Secrets, ConfigMaps, claims and tokens that its pods refer to, its own Lease
// and its own pods. For all else RBAC (the role system:node) decides.
func authorizeNode(view txn.View, node string, a Attributes) (decided, allowed bool) {
	if a.Path != "" {
		return false, false
	}
	switch {
	case a.Group == "" && (a.Resource == "secrets" || a.Resource == "configmaps"):
		// get, and list or watch of one object by its name
		if !slices.Contains([]string{"get", "list", "watch"}, a.Verb) || a.Subresource != "" || a.Name == "" || a.Namespace == "" {
			return true, false
		}
		return true, referenced(view, node, a)
	case a.Group == "" && a.Resource == "persistentvolumeclaims" && a.Verb == "get":
		return true, a.Name != "" && referenced(view, node, a)
	case a.Group == "" && a.Resource == "serviceaccounts" && a.Subresource == "token":
		return true, a.Verb == "create" && usesAccount(view, node, a.Namespace, a.Name)
	case a.Group == "" && a.Resource == "pods" && slices.Contains([]string{"list", "watch", "deletecollection"}, a.Verb):
		return true, a.Verb != "deletecollection" && a.Name == "" && selectsNode(a.FieldSelector, node) ||
			a.Name != "" && ownPod(view, node, a.Namespace, a.Name)
	case a.Group == "" && a.Resource == "pods" && a.Verb != "create":
		return true, slices.Contains([]string{"get", "patch", "update", "delete"}, a.Verb) && ownPod(view, node, a.Namespace, a.Name)
	case a.Group == "coordination.k8s.io" && a.Resource == "leases":
		return true, a.Namespace == corev1.NamespaceNodeLease && (a.Name == node || a.Verb == "create" && a.Name == "")
	}
	return false, false
}

// selectsNode tells whether a field selector lets through pods of the node
// only. It is parsed, not searched: a value may contain escaped commas.
func selectsNode(selector, node string) bool {
	parsed, err := fields.ParseSelector(selector)
	if err != nil {
		return false
	}
	value, exact := parsed.RequiresExactMatch(IndexNodeName)
	return exact && value == node
}

func ownPod(view txn.View, node, namespace, name string) bool {
	o, ok := view.Get(txn.Ref{Resource: pods, Namespace: namespace, Name: name})
	return ok && o.(*corev1.Pod).Spec.NodeName == node
}

func eachPod(view txn.View, node, namespace string, f func(*corev1.Pod) bool) bool {
	for o := range view.EachIndexed(pods, IndexNodeName, node) {
		if o.GetNamespace() == namespace && f(o.(*corev1.Pod)) {
			return true
		}
	}
	return false
}

func usesAccount(view txn.View, node, namespace, account string) bool {
	return eachPod(view, node, namespace, func(p *corev1.Pod) bool {
		return p.Spec.ServiceAccountName == account
	})
}

func referenced(view txn.View, node string, a Attributes) bool {
	return eachPod(view, node, a.Namespace, func(p *corev1.Pod) bool {
		switch a.Resource {
		case "secrets":
			return slices.Contains(podrefs.Secrets(&p.Spec), a.Name)
		case "configmaps":
			return slices.Contains(podrefs.ConfigMaps(&p.Spec), a.Name)
		}
		return slices.Contains(podrefs.Claims(p), a.Name)
	})
}
