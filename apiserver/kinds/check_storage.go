package kinds

import (
	"encoding/json"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (c *checker) jsonData(p *path, key string, data map[string][]byte) {
	b, ok := data[key]
	if ok && !json.Valid(b) {
		c.invalid(p.Key(key), "<secret contents redacted>", "invalid JSON")
	}
}

var allAccessModes = []corev1.PersistentVolumeAccessMode{
	corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod,
}

func (c *checker) accessModes(p *path, modes []corev1.PersistentVolumeAccessMode) {
	alone := false
	for _, m := range modes {
		alone = alone || m == corev1.ReadWriteOncePod
		switch m {
		case corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod:
		default:
			c.add(field.NotSupported(p, m, allAccessModes))
		}
	}
	if alone && len(modes) > 1 {
		c.forbidden(p, "may not use ReadWriteOncePod with other access modes")
	}
}

func (c *checker) claimSpec(p *path, s *corev1.PersistentVolumeClaimSpec) {
	if len(s.AccessModes) == 0 {
		c.required(p.Child("accessModes"), "at least 1 access mode is required")
	}
	c.accessModes(p.Child("accessModes"), s.AccessModes)
	c.selector(p.Child("selector"), s.Selector)
	at := p.Child("resources").Key(string(corev1.ResourceStorage))
	if q, ok := s.Resources.Requests[corev1.ResourceStorage]; !ok {
		c.required(at, "")
	} else if q.Sign() <= 0 {
		c.invalid(at, q.String(), "must be greater than zero")
	}
	if s.StorageClassName != nil && *s.StorageClassName != "" {
		c.messages(p, "storageClassName", *s.StorageClassName, validation.IsDNS1123Subdomain(*s.StorageClassName))
	}
	oneOfPtr(c, p, "volumeMode", s.VolumeMode, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)
	c.dataSources(p, s)
	if n := deref(s.VolumeAttributesClassName, ""); n != "" {
		c.messages(p, "volumeAttributesClassName", n, validation.IsDNS1123Subdomain(n))
	}
}

// dataSources checks what a claim is filled from, under both of its names.
func (c *checker) dataSources(p *path, s *corev1.PersistentVolumeClaimSpec) {
	if r := s.DataSource; r != nil {
		c.claimSource(p.Child("dataSource"), deref(r.APIGroup, ""), r.Kind, r.Name)
	}
	r := s.DataSourceRef
	if r == nil {
		return
	}
	c.claimSource(p.Child("dataSourceRef"), deref(r.APIGroup, ""), r.Kind, r.Name)
	namespace := deref(r.Namespace, "")
	if namespace != "" {
		c.messages(p.Child("dataSourceRef"), "namespace", namespace, validation.IsDNS1123Label(namespace))
	}
	switch was := s.DataSource; {
	case was == nil:
	case namespace != "":
		c.invalid(p, p.Child("dataSource"), "may not be specified when dataSourceRef.namespace is specified")
	case deref(was.APIGroup, "") != deref(r.APIGroup, "") || was.Kind != r.Kind || was.Name != r.Name:
		c.invalid(p, p.Child("dataSource"), "must match dataSourceRef")
	}
}

// claimSource checks one of them: a claim, or of another group whatever a
// driver knows.
func (c *checker) claimSource(p *path, group, kindName, name string) {
	c.dataSource(p, kindName, name)
	if group == "" && kindName != "PersistentVolumeClaim" {
		c.invalid(p, kindName, "must be 'PersistentVolumeClaim' when referencing the default apiGroup")
	}
	if group != "" {
		c.messages(p, "apiGroup", group, validation.IsDNS1123Subdomain(group))
	}
}

func (c *checker) dataSource(p *path, kindName, name string) {
	if name == "" {
		c.required(p.Child("name"), "")
	}
	if kindName == "" {
		c.required(p.Child("kind"), "")
	}
}

func checkPersistentVolumeClaim(o, old *corev1.PersistentVolumeClaim) fieldErrors {
	c := &checker{}
	p := field.NewPath("spec")
	c.claimSpec(p, &o.Spec)
	if old == nil {
		return c.errs
	}
	c.claimUpdate(p, o, old)
	return c.errs
}

// claimUpdate keeps a claim as it is, but for its volume and class when it had
// none; a bound claim can grow, and have other attributes.
func (c *checker) claimUpdate(p *path, o, old *corev1.PersistentVolumeClaim) {
	may, was := o.Spec.DeepCopy(), old.Spec.DeepCopy()
	// What was stored before both names of a source were kept has one.
	normalizeSources(was, was)
	if was.VolumeName == "" {
		may.VolumeName = ""
	}
	beta, annotated := old.Annotations[corev1.BetaStorageClassAnnotation]
	if o.Annotations[corev1.BetaStorageClassAnnotation] != beta {
		c.invalid(field.NewPath("metadata", "annotations").Key(corev1.BetaStorageClassAnnotation), o.Annotations[corev1.BetaStorageClassAnnotation], immutable)
	}
	if was.StorageClassName == nil && (!annotated || deref(may.StorageClassName, beta) == beta) {
		may.StorageClassName = nil
	}
	now, before := may.Resources.Requests[corev1.ResourceStorage], was.Resources.Requests[corev1.ResourceStorage]
	if old.Status.Phase == corev1.ClaimBound {
		if may.Resources.Requests != nil {
			may.Resources.Requests[corev1.ResourceStorage] = before
		}
		may.VolumeAttributesClassName = was.VolumeAttributesClassName
	}
	if !equality.Semantic.DeepEqual(may, was) {
		c.forbidden(p, "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims")
	}
	if capacity := old.Status.Capacity[corev1.ResourceStorage]; now.Cmp(before) < 0 && now.Cmp(capacity) <= 0 {
		c.forbidden(p.Child("resources", "requests", "storage"), "field can not be less than status.capacity")
	}
	if !equality.Semantic.DeepEqual(o.Spec.VolumeMode, old.Spec.VolumeMode) {
		c.invalid(field.NewPath("volumeMode"), o.Spec.VolumeMode, immutable)
	}
	if old.Status.CurrentVolumeAttributesClassName == nil || deref(o.Spec.VolumeAttributesClassName, "") == deref(old.Spec.VolumeAttributesClassName, "") {
		return
	}
	switch at := p.Child("volumeAttributesClassName"); deref(o.Spec.VolumeAttributesClassName, unset) {
	case unset:
		c.forbidden(at, "update to nil is forbidden when status.currentVolumeAttributesClassName is not nil")
	case "":
		c.forbidden(at, "update to empty string is forbidden when status.currentVolumeAttributesClassName is not nil")
	}
}

var resizeStatuses = []corev1.ClaimResourceStatus{
	corev1.PersistentVolumeClaimControllerResizeInProgress, corev1.PersistentVolumeClaimControllerResizeInfeasible,
	corev1.PersistentVolumeClaimNodeResizeInProgress, corev1.PersistentVolumeClaimNodeResizeInfeasible, corev1.PersistentVolumeClaimNodeResizePending,
}

func checkClaimStatus(o, _ *corev1.PersistentVolumeClaim) fieldErrors {
	c, p := &checker{}, field.NewPath("status")
	c.basicAmounts(p.Child("capacity"), o.Status.Capacity)
	at := p.Child("allocatedResourceStatuses")
	for name, status := range o.Status.AllocatedResourceStatuses {
		c.claimResource(at, name)
		if !slices.Contains(resizeStatuses, status) {
			c.add(field.NotSupported(at, name, statusNames(resizeStatuses)))
		}
	}
	at = p.Child("allocatedResources")
	for name, q := range o.Status.AllocatedResources {
		if c.claimResource(at, name) {
			c.basicAmounts(at, corev1.ResourceList{name: q})
		}
	}
	return c.errs
}

func statusNames(all []corev1.ClaimResourceStatus) []corev1.ResourceName {
	names := make([]corev1.ResourceName, len(all))
	for i, s := range all {
		names[i] = corev1.ResourceName(s)
	}
	return names
}

func (c *checker) basicAmounts(p *path, list corev1.ResourceList) {
	for name, q := range list {
		if q.Value() < 0 {
			c.invalid(p.Key(string(name)), q.Value(), "must be a valid resource quantity")
		}
	}
}

// claimResource checks the name of what a claim has of a volume: storage, or
// something of somebody else's domain.
func (c *checker) claimResource(p *path, name corev1.ResourceName) bool {
	wrong := validation.IsQualifiedName(string(name))
	for _, m := range wrong {
		c.invalid(p, name, m)
	}
	native := !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
	if len(wrong) == 0 && native && name != corev1.ResourceStorage {
		c.add(field.NotSupported(p, name, []corev1.ResourceName{corev1.ResourceStorage}))
		return false
	}
	return len(wrong) == 0
}

func checkPersistentVolume(o, old *corev1.PersistentVolume) fieldErrors {
	c := &checker{}
	p, s := field.NewPath("spec"), &o.Spec
	if len(s.AccessModes) == 0 {
		c.required(p.Child("accessModes"), "")
	}
	c.accessModes(p.Child("accessModes"), s.AccessModes)
	if len(s.Capacity) == 0 {
		c.required(p.Child("capacity"), "")
	}
	if _, ok := s.Capacity[corev1.ResourceStorage]; !ok || len(s.Capacity) > 1 {
		c.add(field.NotSupported(p.Child("capacity"), s.Capacity, []string{string(corev1.ResourceStorage)}))
	}
	for name, q := range s.Capacity {
		if q.Sign() <= 0 {
			c.invalid(p.Child("capacity").Key(string(name)), q.String(), "must be greater than zero")
		}
	}
	oneOf(c, p, "persistentVolumeReclaimPolicy", s.PersistentVolumeReclaimPolicy,
		corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain)
	oneOfPtr(c, p, "volumeMode", s.VolumeMode, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)
	if s.PersistentVolumeSource == (corev1.PersistentVolumeSource{}) {
		c.required(p, "must specify a volume type")
	}
	c.sources(p, persistentSources(s))
	if s.HostPath != nil && s.HostPath.Path == "/" && s.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		c.forbidden(p.Child("persistentVolumeReclaimPolicy"), "may not be 'recycle' for a hostPath mount of '/'")
	}
	if a := s.NodeAffinity; a != nil && a.Required == nil {
		c.required(p.Child("nodeAffinity", "required"), "must specify required node constraints")
	} else if a != nil {
		c.nodeSelector(p.Child("nodeAffinity", "required"), a.Required)
	}
	if s.StorageClassName != "" {
		c.messages(p, "storageClassName", s.StorageClassName, validation.IsDNS1123Subdomain(s.StorageClassName))
	}
	if n := s.VolumeAttributesClassName; n != nil {
		if *n == "" {
			c.required(p.Child("volumeAttributesClassName"), "an empty string is disallowed")
		} else {
			c.messages(p, "volumeAttributesClassName", *n, validation.IsDNS1123Subdomain(*n))
		}
		if s.CSI == nil {
			c.required(p.Child("csi"), "has to be specified when using volumeAttributesClassName")
		}
	}
	if old != nil && !equality.Semantic.DeepEqual(&s.PersistentVolumeSource, &old.Spec.PersistentVolumeSource) {
		c.forbidden(p.Child("persistentvolumesource"), "spec.persistentvolumesource is immutable after creation")
	}
	if old != nil && !equality.Semantic.DeepEqual(s.VolumeMode, old.Spec.VolumeMode) {
		c.invalid(field.NewPath("volumeMode"), s.VolumeMode, immutable)
	}
	return c.errs
}

// provisioner checks the name of who makes volumes of a class.
func (c *checker) provisioner(name, value string) {
	if value == "" {
		c.required(field.NewPath(name), "")
		return
	}
	value = strings.ToLower(value)
	c.messages(nil, name, value, validation.IsQualifiedName(value))
}

func checkStorageClass(o, old *storagev1.StorageClass) fieldErrors {
	c := &checker{}
	c.provisioner("provisioner", o.Provisioner)
	if deref(o.ReclaimPolicy, "") != "" {
		oneOfPtr(c, nil, "reclaimPolicy", o.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)
	}
	oneOfPtr(c, nil, "volumeBindingMode", o.VolumeBindingMode, storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer)
	if _, nameless := o.Parameters[""]; nameless {
		c.invalid(field.NewPath("parameters"), "", "field can not be empty.")
	}
	c.topologies(field.NewPath("allowedTopologies"), o.AllowedTopologies)
	if old == nil {
		return c.errs
	}
	if !equality.Semantic.DeepEqual(o.Parameters, old.Parameters) {
		c.invalid(field.NewPath("parameters"), nil, immutable)
	}
	if o.Provisioner != old.Provisioner {
		c.invalid(field.NewPath("provisioner"), nil, immutable)
	}
	if deref(o.ReclaimPolicy, "") != deref(old.ReclaimPolicy, "") {
		c.invalid(field.NewPath("reclaimPolicy"), nil, immutable)
	}
	if deref(o.VolumeBindingMode, "") != deref(old.VolumeBindingMode, "") {
		c.invalid(field.NewPath("volumeBindingMode"), nil, immutable)
	}
	return c.errs
}
