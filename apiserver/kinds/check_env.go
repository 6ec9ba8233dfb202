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
		case e.ConfigMapRef == nil && e.SecretRef == nil:
			c.invalid(p.Child("envFrom"), "", "must specify one of: `configMapRef` or `secretRef`")
			continue
		case e.ConfigMapRef != nil && e.SecretRef != nil:
			c.invalid(p.Child("envFrom"), "", "may not have more than one field specified at a time")
		}
		if e.ConfigMapRef != nil {
			c.dnsSubdomain(at.Child("configMapRef"), "name", e.ConfigMapRef.Name)
		}
		if e.SecretRef != nil {
			c.dnsSubdomain(at.Child("secretRef"), "name", e.SecretRef.Name)
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
	"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName",
	"spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
}

var volumeFields = []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}

func (c *checker) envSource(p *path, e *corev1.EnvVar) {
	from, n := e.ValueFrom, 0
	if from.FieldRef != nil {
		n++
		c.fieldRef(p.Child("fieldRef"), from.FieldRef, envFields)
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
	if r := from.FileKeyRef; r != nil {
		n++
		c.fileKeyRef(p.Child("fileKeyRef"), r)
	}
	switch {
	case n == 0:
		c.invalid(p, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`")
	case e.Value != "":
		c.invalid(p, "", "may not be specified when `value` is not empty")
	case n > 1:
		c.invalid(p, "", "may not have more than one field specified at a time")
	}
}

// fileKeyRef checks a reference to a variable in a file that another container
// has written.
func (c *checker) fileKeyRef(p *path, r *corev1.FileKeySelector) {
	if r.Key == "" {
		c.required(p.Child("key"), "")
	} else {
		c.messages(p, "key", r.Key, validation.IsRelaxedEnvVarName(r.Key))
	}
	c.dnsLabel(p, "volumeName", r.VolumeName)
	if r.Path == "" {
		c.required(p.Child("path"), "")
	} else {
		c.noBacksteps(p.Child("path"), r.Path)
	}
}

// fileVariables checks that files with variables are in volumes that containers
// can write.
func (c *checker) fileVariables(p *path, s *corev1.PodSpec, volumes map[string]*corev1.Volume) {
	eachContainer(p, s, func(at *path, o *corev1.Container) {
		for i := range o.Env {
			if o.Env[i].ValueFrom == nil || o.Env[i].ValueFrom.FileKeyRef == nil {
				continue
			}
			name := o.Env[i].ValueFrom.FileKeyRef.VolumeName
			at := at.Child("env").Index(i).Child("valueFrom", "fileKeyRef", "volumeName")
			if v := volumes[name]; v == nil {
				c.add(field.NotFound(at, name))
			} else if v.EmptyDir == nil {
				c.invalid(at, name, "referenced volume must be of type emptyDir")
			}
		}
	})
}

// fieldRef checks a reference to a field of the pod, such as
// metadata.labels['app'].
func (c *checker) fieldRef(p *path, r *corev1.ObjectFieldSelector, supported []string) {
	if r.APIVersion == "" {
		c.required(p.Child("apiVersion"), "")
		return
	}
	if r.FieldPath == "" {
		c.required(p.Child("fieldPath"), "")
		return
	}
	name, key, ok := strings.Cut(r.FieldPath, "['")
	ok = ok && strings.HasSuffix(key, "']")
	key = strings.TrimSuffix(key, "']")
	switch {
	case r.APIVersion != "v1":
		c.invalid(p.Child("fieldPath"), r.FieldPath, "error converting fieldPath: unsupported pod version: "+r.APIVersion)
	case ok && name == "metadata.annotations":
		key = strings.ToLower(key)
		fallthrough
	case ok && name == "metadata.labels":
		for _, m := range validation.IsQualifiedName(key) {
			c.invalid(p, key, m)
		}
	case !ok && slices.Contains(fieldLabels, r.FieldPath):
		if !slices.Contains(supported, r.FieldPath) {
			c.add(field.NotSupported(p.Child("fieldPath"), r.FieldPath, supported))
		}
	case ok:
		c.invalid(p.Child("fieldPath"), r.FieldPath, "error converting fieldPath: field label does not support subscript: "+r.FieldPath)
	default:
		c.invalid(p.Child("fieldPath"), r.FieldPath, "error converting fieldPath: field label not supported: "+r.FieldPath)
	}
}

// fieldLabels are the fields of a pod that have names of their own.
var fieldLabels = []string{
	"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName",
	"spec.restartPolicy", "spec.serviceAccountName", "spec.schedulerName", "status.phase", "status.hostIP", "status.hostIPs",
	"status.podIP", "status.podIPs",
}

var resourceFields = []string{
	"limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory",
}

func (c *checker) resourceFieldRef(p *path, r *corev1.ResourceFieldSelector, inVolume bool) {
	known := slices.Contains(resourceFields, r.Resource)
	switch {
	case inVolume && r.ContainerName == "":
		c.required(p.Child("containerName"), "")
	case r.Resource == "":
		c.required(p.Child("resource"), "")
	case known, strings.HasPrefix(r.Resource, "limits.hugepages-"), strings.HasPrefix(r.Resource, "requests.hugepages-"):
	default:
		c.add(field.NotSupported(p.Child("resource"), r.Resource, resourceFields))
	}
	c.divisor(p, r)
}

// divisors are the units that a resource can be given in, by its name.
var divisors = map[string][]string{
	"cpu":               {"1m", "1"},
	"memory":            {"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"},
	"ephemeral-storage": {"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"},
	"hugepages":         {"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"},
}

func (c *checker) divisor(p *path, r *corev1.ResourceFieldSelector) {
	if r.Divisor.IsZero() {
		return
	}
	_, name, _ := strings.Cut(r.Resource, ".")
	huge := strings.HasPrefix(name, "hugepages-")
	if huge {
		name = "hugepages"
	}
	if allowed, ok := divisors[name]; ok && !slices.Contains(allowed, r.Divisor.String()) {
		switch {
		case name == "cpu":
			c.invalid(p.Child("divisor"), name, "only divisor's values 1m and 1 are supported with the cpu resource")
		case huge:
			c.invalid(p.Child("divisor"), name, "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the hugepages resource")
		case name == "memory":
			c.invalid(p.Child("divisor"), name, "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory resource")
		default:
			c.invalid(p.Child("divisor"), name, "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the local ephemeral storage resource")
		}
	}
}

// objectName checks a name that old objects may lack.
func (c *checker) objectName(p *path, name string) {
	if !plainLabel(name) {
		c.messages(p, "name", name, validation.IsDNS1123Subdomain(name))
	}
}

func (c *checker) keyRef(p *path, name, key string) {
	c.objectName(p, name)
	if key == "" {
		c.required(p.Child("key"), "")
		return
	}
	if !plainLabel(key) {
		c.messages(p, "key", key, validation.IsConfigMapKey(key))
	}
}
