package kinds

import (
	"strings"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func csiDriverKind() *kind.Kind {
	doc := storagev1.CSIDriverSpec{}.SwaggerDoc()
	return &kind.Kind{
		GVK:           storagev1.SchemeGroupVersion.WithKind("CSIDriver"),
		Plural:        "csidrivers",
		Singular:      "csidriver",
		StoragePrefix: "csidrivers",
		New:           func() txn.Object { return &storagev1.CSIDriver{} },
		NewList:       func() runtime.Object { return &storagev1.CSIDriverList{} },
		Default: defaults(func(o *storagev1.CSIDriver) {
			s := &o.Spec
			setDefaultPtr(&s.AttachRequired, true)
			setDefaultPtr(&s.PodInfoOnMount, false)
			setDefaultPtr(&s.StorageCapacity, false)
			setDefaultPtr(&s.FSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
			setDefaultPtr(&s.RequiresRepublish, false)
			setDefaultPtr(&s.SELinuxMount, false)
			if len(s.VolumeLifecycleModes) == 0 {
				s.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
			}
		}),
		Prepare: prepare(func(o, old *storagev1.CSIDriver) {
			countSpecs(o, untyped(old), &o.Spec, func() any { return &old.Spec })
		}),
		Name:     func(name string, _ bool) []string { return driverNameMessages(name) },
		Validate: validate(checkCSIDriver),
		Columns: []column{
			nameColumn(), boolean("AttachRequired", doc["attachRequired"]), boolean("PodInfoOnMount", doc["podInfoOnMount"]),
			boolean("StorageCapacity", doc["storageCapacity"]), str("TokenRequests", doc["tokenRequests"]),
			boolean("RequiresRepublish", doc["requiresRepublish"]), str("Modes", doc["volumeLifecycleModes"]), ageColumn(),
		},
		Row: row(csiDriverRow),
	}
}

func csiDriverRow(o *storagev1.CSIDriver, now time.Time) []any {
	s := &o.Spec
	modes := make([]string, len(s.VolumeLifecycleModes))
	for i, m := range s.VolumeLifecycleModes {
		modes[i] = string(m)
	}
	tokens := make([]string, len(s.TokenRequests))
	for i, t := range s.TokenRequests {
		tokens[i] = t.Audience
	}
	requests := unset
	if s.TokenRequests != nil {
		requests = strings.Join(tokens, ",")
	}
	return []any{
		o.Name, deref(s.AttachRequired, true), deref(s.PodInfoOnMount, false), deref(s.StorageCapacity, false), requests,
		deref(s.RequiresRepublish, false), orNone(strings.Join(modes, ",")), age(o, now),
	}
}

func checkCSIDriver(o, old *storagev1.CSIDriver) fieldErrors {
	c := &checker{}
	p, s := field.NewPath("spec"), &o.Spec
	oneOfPtr(c, p, "fsGroupPolicy", s.FSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy, storagev1.FileFSGroupPolicy, storagev1.NoneFSGroupPolicy)
	for i, m := range s.VolumeLifecycleModes {
		if m != storagev1.VolumeLifecyclePersistent && m != storagev1.VolumeLifecycleEphemeral {
			c.add(field.NotSupported(p.Child("volumeLifecycleModes").Index(i), m,
				[]storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral}))
		}
	}
	audiences := map[string]bool{}
	for i, t := range s.TokenRequests {
		at := p.Child("tokenRequests").Index(i)
		if audiences[t.Audience] {
			c.add(field.Duplicate(at.Child("audience"), t.Audience))
		}
		audiences[t.Audience] = true
		if t.ExpirationSeconds != nil && (*t.ExpirationSeconds < 600 || *t.ExpirationSeconds > 1<<32) {
			c.invalid(at.Child("expirationSeconds"), *t.ExpirationSeconds, "must be between 10 minutes and 2^32 seconds")
		}
	}
	if old != nil {
		same(c, p, "attachRequired", deref(s.AttachRequired, true), deref(old.Spec.AttachRequired, true))
	}
	return c.errs
}

// driverName checks the required name of a CSI driver.
func (c *checker) driverName(p *path, name, value string) {
	if value == "" {
		c.required(p.Child(name), "")
		return
	}
	c.messages(p, name, value, driverNameMessages(value))
}

func driverNameMessages(name string) []string {
	if len(name) > 63 {
		return []string{validation.MaxLenError(63)}
	}
	return validation.IsDNS1123Subdomain(strings.ToLower(name))
}
