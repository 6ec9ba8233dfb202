package kinds

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

func checkNamespace(o, _ *corev1.Namespace) fieldErrors {
	c := &checker{}
	for _, f := range o.Spec.Finalizers {
		c.namespaceFinalizer(field.NewPath("spec", "finalizers"), f)
	}
	return c.errs
}

// checkFinalize is for whoever takes finalizers away.
func checkFinalize(o, _ *corev1.Namespace) fieldErrors {
	c := &checker{}
	for i, f := range o.Spec.Finalizers {
		c.namespaceFinalizer(field.NewPath("spec", "finalizers").Index(i), f)
	}
	return c.errs
}

func (c *checker) namespaceFinalizer(p *path, f corev1.FinalizerName) {
	for _, m := range validation.IsQualifiedName(string(f)) {
		c.invalid(p, f, m)
	}
	if !strings.Contains(string(f), "/") && f != corev1.FinalizerKubernetes {
		c.invalid(p, f, "name is neither a standard finalizer name nor is it fully qualified")
	}
}

func checkNamespaceStatus(o, _ *corev1.Namespace) fieldErrors {
	c, at := &checker{}, field.NewPath("status", "Phase")
	switch phase := o.Status.Phase; {
	case o.DeletionTimestamp == nil && phase != corev1.NamespaceActive:
		c.invalid(at, phase, "may only be 'Active' if `deletionTimestamp` is empty")
	case o.DeletionTimestamp != nil && phase != corev1.NamespaceTerminating:
		c.invalid(at, phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")
	}
	return c.errs
}

// maxDataSize bounds what one ConfigMap or Secret holds.
const maxDataSize = 1 << 20

func checkConfigMap(o, old *corev1.ConfigMap) fieldErrors {
	c := &checker{}
	size := 0
	for k, v := range o.Data {
		c.dataKey(field.NewPath("data"), k)
		if _, ok := o.BinaryData[k]; ok {
			c.invalid(field.NewPath("data").Key(k), k, "duplicate of key present in binaryData")
		}
		size += len(v)
	}
	for k, v := range o.BinaryData {
		c.dataKey(field.NewPath("binaryData"), k)
		size += len(v)
	}
	if size > maxDataSize {
		c.add(field.TooLong(field.NewPath(""), "", maxDataSize))
	}
	if old != nil && deref(old.Immutable, false) {
		c.stillImmutable(o.Immutable)
		if !equality.Semantic.DeepEqual(o.Data, old.Data) {
			c.forbidden(field.NewPath("data"), "field is immutable when `immutable` is set")
		}
		if !equality.Semantic.DeepEqual(o.BinaryData, old.BinaryData) {
			c.forbidden(field.NewPath("binaryData"), "field is immutable when `immutable` is set")
		}
	}
	return c.errs
}

func (c *checker) dataKey(p *path, key string) {
	if plainLabel(key) {
		return
	}
	for _, m := range validation.IsConfigMapKey(key) {
		c.invalid(p.Key(key), key, m)
	}
}

func (c *checker) stillImmutable(now *bool) {
	if !deref(now, false) {
		c.forbidden(field.NewPath("immutable"), "field is immutable when `immutable` is set")
	}
}

// requiredKeys are what secrets of these types must have.
var requiredKeys = map[corev1.SecretType][]string{
	corev1.SecretTypeDockercfg:        {corev1.DockerConfigKey},
	corev1.SecretTypeDockerConfigJson: {corev1.DockerConfigJsonKey},
	corev1.SecretTypeSSHAuth:          {corev1.SSHAuthPrivateKey},
	corev1.SecretTypeTLS:              {corev1.TLSCertKey, corev1.TLSPrivateKeyKey},
}

func checkSecret(o, old *corev1.Secret) fieldErrors {
	c := &checker{}
	size, data := 0, field.NewPath("data")
	for k, v := range o.Data {
		c.dataKey(data, k)
		size += len(v)
	}
	if size > maxDataSize {
		c.add(field.TooLong(data, "", maxDataSize))
	}
	for _, key := range requiredKeys[o.Type] {
		if _, ok := o.Data[key]; !ok {
			c.required(data.Key(key), "")
		}
	}
	switch o.Type {
	case corev1.SecretTypeServiceAccountToken:
		if o.Annotations[corev1.ServiceAccountNameKey] == "" {
			c.required(field.NewPath("metadata", "annotations").Key(corev1.ServiceAccountNameKey), "")
		}
	case corev1.SecretTypeBasicAuth:
		_, user := o.Data[corev1.BasicAuthUsernameKey]
		_, password := o.Data[corev1.BasicAuthPasswordKey]
		if !user && !password {
			c.required(data.Key(corev1.BasicAuthUsernameKey), "")
			c.required(data.Key(corev1.BasicAuthPasswordKey), "")
		}
	case corev1.SecretTypeDockercfg:
		c.jsonData(data, corev1.DockerConfigKey, o.Data)
	case corev1.SecretTypeDockerConfigJson:
		c.jsonData(data, corev1.DockerConfigJsonKey, o.Data)
	}
	if old == nil {
		return c.errs
	}
	same(c, nil, "type", o.Type, old.Type)
	if deref(old.Immutable, false) {
		c.stillImmutable(o.Immutable)
		if !equality.Semantic.DeepEqual(o.Data, old.Data) {
			c.forbidden(data, "field is immutable when `immutable` is set")
		}
	}
	return c.errs
}

func secretWarnings(o, _ *corev1.Secret) []string {
	if o.Type == corev1.SecretTypeTLS && len(o.Data[corev1.TLSCertKey])+len(o.Data[corev1.TLSPrivateKeyKey]) == 0 {
		return []string{"tls: failed to find any PEM data in certificate input"}
	}
	return nil
}

func checkEvent(o, _ *corev1.Event) fieldErrors {
	c := &checker{}
	c.event(o, "reportingComponent")
	return c.errs
}

const (
	maxEventWord = 128
	maxEventNote = 1024
)

// event checks what events of both APIs have in common. One with an eventTime is
// the newer API's kind, and says who reports what; controller is the name that
// the version has for the first of these.
func (c *checker) event(o *corev1.Event, controller string) {
	at, of := field.NewPath("involvedObject", "namespace"), o.InvolvedObject.Namespace
	if o.EventTime.IsZero() {
		if of != o.Namespace && (of != "" || o.Namespace != "default") {
			c.invalid(at, of, "does not match event.namespace")
		}
		return
	}
	if of == "" && o.Namespace != "default" && o.Namespace != "kube-system" {
		c.invalid(at, of, "does not match event.namespace")
	}
	if o.ReportingController == "" {
		c.required(field.NewPath(controller), "")
	}
	c.messages(nil, controller, o.ReportingController, validation.IsQualifiedName(o.ReportingController))
	for _, f := range [...]struct{ name, value string }{{"reportingInstance", o.ReportingInstance}, {"action", o.Action}, {"reason", o.Reason}} {
		if f.value == "" {
			c.required(field.NewPath(f.name), "")
		} else if len(f.value) > maxEventWord {
			c.invalid(field.NewPath(f.name), "", fmt.Sprintf("can have at most %d characters", maxEventWord))
		}
	}
	if len(o.Message) > maxEventNote {
		c.invalid(field.NewPath("message"), "", fmt.Sprintf("can have at most %d characters", maxEventNote))
	}
}

func checkEndpoints(o, _ *corev1.Endpoints) fieldErrors {
	c := &checker{}
	for i := range o.Subsets {
		s := &o.Subsets[i]
		p := field.NewPath("subsets").Index(i)
		if len(s.Addresses)+len(s.NotReadyAddresses) == 0 {
			c.required(p, "must specify `addresses` or `notReadyAddresses`")
		}
		for j := range s.Addresses {
			c.endpointAddress(p.Child("addresses").Index(j), &s.Addresses[j])
		}
		for j := range s.NotReadyAddresses {
			c.endpointAddress(p.Child("notReadyAddresses").Index(j), &s.NotReadyAddresses[j])
		}
		for j := range s.Ports {
			at := p.Child("ports").Index(j)
			if s.Ports[j].Name != "" {
				c.dnsLabel(at, "name", s.Ports[j].Name)
			} else if len(s.Ports) > 1 {
				c.required(at.Child("name"), "")
			}
			c.port(at, "port", s.Ports[j].Port)
			protocol(c, at, s.Ports[j].Protocol)
			if a := s.Ports[j].AppProtocol; a != nil {
				c.messages(at, "appProtocol", *a, validation.IsQualifiedName(*a))
			}
		}
	}
	return c.errs
}

func (c *checker) endpointAddress(p *path, a *corev1.EndpointAddress) {
	c.externalIP(p.Child("ip"), a.IP)
	if netutils.ParseIPSloppy(a.IP) == nil {
		c.invalid(p.Child("ip"), a.IP, "must be a valid IP address")
	}
	if a.Hostname != "" {
		c.dnsLabel(p, "hostname", a.Hostname)
	}
	if n := a.NodeName; n != nil && !plainLabel(*n) {
		c.messages(p, "nodeName", *n, validation.IsDNS1123Subdomain(*n))
	}
}
