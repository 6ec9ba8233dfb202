package kinds

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (c *checker) env(p *path, o *corev1.Container) {
	for i := range o.Env {
		e := &o.Env[i]
		if !plainVariable(e.Name) {
			c.envName(p.Child("env").Index(i), e.Name)
		}
		if e.ValueFrom != nil {
			c.envSource(p.Child("env").Index(i).Child("valueFrom"), e)
		}
	}
	for i := range o.EnvFrom {
		e := &o.EnvFrom[i]
		at := p.Child("envFrom").Index(i)
		if e.Prefix != "" {
			c.messages(at, "prefix", e.Prefix, validation.IsRelaxedEnvVarName(e.Prefix))
		}
		switch {
		case e.ConfigMapRef != nil && e.SecretRef != nil:
			c.invalid(at, "", "may not have more than one field specified at a time")
		case e.ConfigMapRef != nil:
			c.dnsSubdomain(at.Child("configMapRef"), "name", e.ConfigMapRef.Name)
		case e.SecretRef != nil:
			c.dnsSubdomain(at.Child("secretRef"), "name", e.SecretRef.Name)
		default:
			c.invalid(at, "", "must specify one of: `configMapRef` or `secretRef`")
		}
	}
}

// plainVariable tells a C identifier, which any check of names lets pass.
func plainVariable(s string) bool {
	for i := range len(s) {
		b := s[i]
		if b != '_' && (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') && (i == 0 || b < '0' || b > '9') {
			return false
		}
	}
	return s != ""
}

func (c *checker) envName(p *path, name string) {
	if name == "" {
		c.required(p.Child("name"), "")
		return
	}
	c.messages(p, "name", name, validation.IsRelaxedEnvVarName(name))
}

var envFields = []string{
	"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName",
	"spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
}

var volumeFields = []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}

func (c *checker) envSource(p *path, e *corev1.EnvVar) {
	from, n := e.ValueFrom, 0
	if from.FieldRef != nil {
		n++
		c.fieldRef(p.Child("fieldRef"), from.FieldRef, envFields, true)
	}
	if from.ResourceFieldRef != nil {
		n++
		c.resourceFieldRef(p.Child("resourceFieldRef"), from.ResourceFieldRef, false)
	}
	if r := from.ConfigMapKeyRef; r != nil {
		n++
		c.keyRef(p.Child("configMapKeyRef"), r.Name, r.Key)
	}
	if r := from.SecretKeyRef; r != nil {
		n++
		c.keyRef(p.Child("secretKeyRef"), r.Name, r.Key)
	}
	if from.FileKeyRef != nil {
		n++
	}
	switch {
	case n == 0:
		c.invalid(p, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`")
	case n > 1:
		c.invalid(p, "", "may not have more than one field specified at a time")
	case e.Value != "":
		c.invalid(p, "", "may not be specified when `value` is not empty")
	}
}

// fieldRef checks a reference to a field of the pod, such as
// metadata.labels['app'], which single tells to be needed for maps.
func (c *checker) fieldRef(p *path, r *corev1.ObjectFieldSelector, supported []string, single bool) {
	if r.APIVersion == "" {
		c.required(p.Child("apiVersion"), "")
		return
	}
	if r.FieldPath == "" {
		c.required(p.Child("fieldPath"), "")
		return
	}
	name, key, ok := strings.Cut(r.FieldPath, "['")
	isMap := name == "metadata.annotations" || name == "metadata.labels"
	switch {
	case !ok && slices.Contains(supported, name) && (!isMap || !single):
	case ok && isMap && strings.HasSuffix(key, "']"):
		key = strings.TrimSuffix(key, "']")
		if name == "metadata.annotations" {
			key = strings.ToLower(key)
		}
		for _, m := range validation.IsQualifiedName(key) {
			c.invalid(p, key, m)
		}
	case ok:
		c.invalid(p.Child("fieldPath"), r.FieldPath, "does not support subscript")
	default:
		c.add(field.NotSupported(p.Child("fieldPath"), r.FieldPath, supported))
	}
}

var resourceFields = []string{
	"limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory",
}

func (c *checker) resourceFieldRef(p *path, r *corev1.ResourceFieldSelector, inVolume bool) {
	if inVolume && r.ContainerName == "" {
		c.required(p.Child("containerName"), "")
	}
	switch {
	case r.Resource == "":
		c.required(p.Child("resource"), "")
	case slices.Contains(resourceFields, r.Resource),
		strings.HasPrefix(r.Resource, "limits.hugepages-"), strings.HasPrefix(r.Resource, "requests.hugepages-"):
	default:
		c.add(field.NotSupported(p.Child("resource"), r.Resource, resourceFields))
	}
}

func (c *checker) keyRef(p *path, name, key string) {
	if name != "" {
		c.dnsSubdomain(p, "name", name)
	}
	if key == "" {
		c.required(p.Child("key"), "")
		return
	}
	if !plainLabel(key) {
		c.messages(p, "key", key, validation.IsConfigMapKey(key))
	}
}
