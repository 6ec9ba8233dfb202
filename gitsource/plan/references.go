package plan

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
)

var (
	namespaces      = schema.GroupResource{Resource: "namespaces"}
	definitions     = schema.GroupResource{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"}
	serviceAccounts = schema.GroupResource{Resource: "serviceaccounts"}
	configMaps      = schema.GroupResource{Resource: "configmaps"}
	secrets         = schema.GroupResource{Resource: "secrets"}
	services        = schema.GroupResource{Resource: "services"}
	claims          = schema.GroupResource{Resource: "persistentvolumeclaims"}
	volumes         = schema.GroupResource{Resource: "persistentvolumes"}
	storageClasses  = schema.GroupResource{Group: "storage.k8s.io", Resource: "storageclasses"}
	priorityClasses = schema.GroupResource{Group: "scheduling.k8s.io", Resource: "priorityclasses"}
	runtimeClasses  = schema.GroupResource{Group: "node.k8s.io", Resource: "runtimeclasses"}
	ingressClasses  = schema.GroupResource{Group: "networking.k8s.io", Resource: "ingressclasses"}
	templates       = schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceclaimtemplates"}
	devices         = schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceclaims"}
	policies        = schema.GroupResource{Group: "admissionregistration.k8s.io", Resource: "validatingadmissionpolicies"}
	mutations       = schema.GroupResource{Group: "admissionregistration.k8s.io", Resource: "mutatingadmissionpolicies"}
)

// reference is a field that names another object, of the same namespace
// unless the resource has none.
type reference struct {
	// path to the name; "[]" goes through a list.
	path     string
	resource schema.GroupResource
}

// podReferences are those of a pod's spec.
var podReferences = []reference{
	{"serviceAccountName", serviceAccounts},
	{"priorityClassName", priorityClasses},
	{"runtimeClassName", runtimeClasses},
	{"imagePullSecrets[].name", secrets},
	{"containers[].env[].valueFrom.configMapKeyRef.name", configMaps},
	{"containers[].env[].valueFrom.secretKeyRef.name", secrets},
	{"containers[].envFrom[].configMapRef.name", configMaps},
	{"containers[].envFrom[].secretRef.name", secrets},
	{"initContainers[].env[].valueFrom.configMapKeyRef.name", configMaps},
	{"initContainers[].env[].valueFrom.secretKeyRef.name", secrets},
	{"initContainers[].envFrom[].configMapRef.name", configMaps},
	{"initContainers[].envFrom[].secretRef.name", secrets},
	{"volumes[].configMap.name", configMaps},
	{"volumes[].secret.secretName", secrets},
	{"volumes[].projected.sources[].configMap.name", configMaps},
	{"volumes[].projected.sources[].secret.name", secrets},
	{"volumes[].csi.nodePublishSecretRef.name", secrets},
	{"volumes[].persistentVolumeClaim.claimName", claims},
	{"volumes[].ephemeral.volumeClaimTemplate.spec.storageClassName", storageClasses},
	{"resourceClaims[].resourceClaimName", devices},
	{"resourceClaims[].resourceClaimTemplateName", templates},
}

// podSpecs is where kinds keep a pod's spec.
var podSpecs = map[schema.GroupKind]string{
	{Kind: "Pod"}:                        "spec",
	{Kind: "PodTemplate"}:                "template.spec",
	{Kind: "ReplicationController"}:      "spec.template.spec",
	{Group: "apps", Kind: "Deployment"}:  "spec.template.spec",
	{Group: "apps", Kind: "ReplicaSet"}:  "spec.template.spec",
	{Group: "apps", Kind: "StatefulSet"}: "spec.template.spec",
	{Group: "apps", Kind: "DaemonSet"}:   "spec.template.spec",
	{Group: "batch", Kind: "Job"}:        "spec.template.spec",
	{Group: "batch", Kind: "CronJob"}:    "spec.jobTemplate.spec.template.spec",
}

// references are those of other kinds, and of these beside their pods.
var references = map[schema.GroupKind][]reference{
	{Kind: "ServiceAccount"}:             {{"secrets[].name", secrets}, {"imagePullSecrets[].name", secrets}},
	{Kind: "PersistentVolumeClaim"}:      {{"spec.storageClassName", storageClasses}, {"spec.volumeName", volumes}},
	{Kind: "PersistentVolume"}:           {{"spec.storageClassName", storageClasses}},
	{Group: "apps", Kind: "StatefulSet"}: {{"spec.serviceName", services}, {"spec.volumeClaimTemplates[].spec.storageClassName", storageClasses}},
	{Group: "networking.k8s.io", Kind: "Ingress"}: {
		{"spec.ingressClassName", ingressClasses},
		{"spec.defaultBackend.service.name", services},
		{"spec.rules[].http.paths[].backend.service.name", services},
		{"spec.tls[].secretName", secrets},
	},
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingAdmissionPolicyBinding"}: {{"spec.policyName", policies}},
	{Group: "admissionregistration.k8s.io", Kind: "MutatingAdmissionPolicyBinding"}:   {{"spec.policyName", mutations}},
}

// callers are the kinds by which the API server itself calls a Service, and
// where they name it.
var callers = map[schema.GroupKind]string{
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingWebhookConfiguration"}: "webhooks[].clientConfig.service",
	{Group: "admissionregistration.k8s.io", Kind: "MutatingWebhookConfiguration"}:   "webhooks[].clientConfig.service",
	{Group: "apiregistration.k8s.io", Kind: "APIService"}:                           "spec.service",
}

// needs are the objects that another one names, whether there are such or not:
// they are written before it and deleted after it.
func needs(e *Entry, body map[string]any) []txn.Ref {
	var out []txn.Ref
	add := func(resource schema.GroupResource, namespace, name string) {
		if name != "" {
			out = append(out, txn.Ref{Resource: resource, Namespace: namespace, Name: name})
		}
	}
	named := func(at any, all []reference) {
		for _, r := range all {
			namespace := e.Namespace
			switch r.resource {
			case priorityClasses, runtimeClasses, storageClasses, ingressClasses, volumes, policies, mutations:
				namespace = ""
			}
			each(at, r.path, func(v any) {
				name, _ := v.(string)
				add(r.resource, namespace, name)
			})
		}
	}
	add(namespaces, "", e.Namespace)
	if e.Group != "" && strings.Contains(e.Group, ".") {
		add(definitions, "", e.Resource+"."+e.Group)
	}
	gk := schema.GroupKind{Group: e.Group, Kind: e.Kind}
	if path, ok := podSpecs[gk]; ok {
		each(body, path, func(spec any) { named(spec, podReferences) })
	}
	named(body, references[gk])
	switch gk {
	case schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}, schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding"}:
		out = append(out, bound(e, body)...)
	case schema.GroupKind{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}:
		out = append(out, scaled(e, body)...)
	}
	return append(out, called(gk, body)...)
}

// called are the Services that the API server calls because of an object.
func called(gk schema.GroupKind, body map[string]any) []txn.Ref {
	path, ok := callers[gk]
	if !ok {
		return nil
	}
	var out []txn.Ref
	each(body, path, func(v any) {
		if s, ok := v.(map[string]any); ok {
			out = append(out, txn.Ref{Resource: services, Namespace: text(s, "namespace"), Name: text(s, "name")})
		}
	})
	return out
}

// bound are the role and the accounts of a binding.
func bound(e *Entry, body map[string]any) []txn.Ref {
	var out []txn.Ref
	each(body, "roleRef", func(v any) {
		role, _ := v.(map[string]any)
		ref := txn.Ref{Resource: schema.GroupResource{Group: "rbac.authorization.k8s.io", Resource: "clusterroles"}, Name: text(role, "name")}
		if text(role, "kind") == "Role" {
			ref.Resource.Resource, ref.Namespace = "roles", e.Namespace
		}
		out = append(out, ref)
	})
	each(body, "subjects[]", func(v any) {
		if s, _ := v.(map[string]any); text(s, "kind") == "ServiceAccount" {
			namespace := text(s, "namespace")
			if namespace == "" {
				namespace = e.Namespace
			}
			out = append(out, txn.Ref{Resource: serviceAccounts, Namespace: namespace, Name: text(s, "name")})
		}
	})
	return out
}

// scaled is what an autoscaler looks after.
func scaled(e *Entry, body map[string]any) []txn.Ref {
	var out []txn.Ref
	each(body, "spec.scaleTargetRef", func(v any) {
		target, _ := v.(map[string]any)
		group, _, versioned := strings.Cut(text(target, "apiVersion"), "/")
		if !versioned {
			group = ""
		}
		out = append(out, txn.Ref{
			Resource:  schema.GroupResource{Group: group, Resource: strings.ToLower(text(target, "kind")) + "s"},
			Namespace: e.Namespace, Name: text(target, "name"),
		})
	})
	return out
}

func text(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}

// each calls f with what is at a path, for every item of the lists on it.
func each(at any, path string, f func(any)) {
	if path == "" {
		f(at)
		return
	}
	key, rest, _ := strings.Cut(path, ".")
	name, list := strings.CutSuffix(key, "[]")
	m, _ := at.(map[string]any)
	value, ok := m[name]
	if !ok {
		return
	}
	if !list {
		each(value, rest, f)
		return
	}
	items, _ := value.([]any)
	for _, item := range items {
		each(item, rest, f)
	}
}
