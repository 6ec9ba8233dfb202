package authz

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
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
			return slices.Contains(podSecrets(&p.Spec), a.Name)
		case "configmaps":
			return slices.Contains(podConfigMaps(&p.Spec), a.Name)
		}
		return slices.Contains(podClaims(p), a.Name)
	})
}

func containers(spec *corev1.PodSpec, f func(env []corev1.EnvVar, from []corev1.EnvFromSource)) {
	for i := range spec.InitContainers {
		f(spec.InitContainers[i].Env, spec.InitContainers[i].EnvFrom)
	}
	for i := range spec.Containers {
		f(spec.Containers[i].Env, spec.Containers[i].EnvFrom)
	}
	for i := range spec.EphemeralContainers {
		f(spec.EphemeralContainers[i].Env, spec.EphemeralContainers[i].EnvFrom)
	}
}

func podSecrets(spec *corev1.PodSpec) []string {
	var names []string
	for _, r := range spec.ImagePullSecrets {
		names = append(names, r.Name)
	}
	containers(spec, func(env []corev1.EnvVar, from []corev1.EnvFromSource) {
		for _, e := range env {
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				names = append(names, e.ValueFrom.SecretKeyRef.Name)
			}
		}
		for _, f := range from {
			if f.SecretRef != nil {
				names = append(names, f.SecretRef.Name)
			}
		}
	})
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		if v.Secret != nil {
			names = append(names, v.Secret.SecretName)
		}
		if v.CSI != nil && v.CSI.NodePublishSecretRef != nil {
			names = append(names, v.CSI.NodePublishSecretRef.Name)
		}
		if v.Projected != nil {
			for _, s := range v.Projected.Sources {
				if s.Secret != nil {
					names = append(names, s.Secret.Name)
				}
			}
		}
	}
	return names
}

func podConfigMaps(spec *corev1.PodSpec) []string {
	var names []string
	containers(spec, func(env []corev1.EnvVar, from []corev1.EnvFromSource) {
		for _, e := range env {
			if e.ValueFrom != nil && e.ValueFrom.ConfigMapKeyRef != nil {
				names = append(names, e.ValueFrom.ConfigMapKeyRef.Name)
			}
		}
		for _, f := range from {
			if f.ConfigMapRef != nil {
				names = append(names, f.ConfigMapRef.Name)
			}
		}
	})
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		if v.ConfigMap != nil {
			names = append(names, v.ConfigMap.Name)
		}
		if v.Projected != nil {
			for _, s := range v.Projected.Sources {
				if s.ConfigMap != nil {
					names = append(names, s.ConfigMap.Name)
				}
			}
		}
	}
	return names
}

func podClaims(p *corev1.Pod) []string {
	var names []string
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		switch {
		case v.PersistentVolumeClaim != nil:
			names = append(names, v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil:
			names = append(names, p.Name+"-"+v.Name)
		}
	}
	return names
}
