package kinds

import (
	"slices"
	"strings"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
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
			setDefaultPtr(&s.PreventPodSchedulingIfMissing, false)
			if len(s.VolumeLifecycleModes) == 0 {
				s.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
			}
		}),
		Prepare: prepare(func(o, old *storagev1.CSIDriver) {
			// Its generations count from nothing.
			if old != nil {
				raiseGeneration(o, old, &o.Spec, &old.Spec)
			}
		}),
		Warnings: warnings(csiDriverWarnings),
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
	oneOfPtr(c, p, "fsGroupPolicy", s.FSGroupPolicy, storagev1.FileFSGroupPolicy, storagev1.NoneFSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
	for _, m := range s.VolumeLifecycleModes {
		if m != storagev1.VolumeLifecyclePersistent && m != storagev1.VolumeLifecycleEphemeral {
			c.add(field.NotSupported(p.Child("volumeLifecycleModes"), m,
				[]storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral}))
		}
	}
	audiences := map[string]bool{}
	for i, t := range s.TokenRequests {
		at := p.Child("tokenRequests").Index(i)
		if audiences[t.Audience] {
			c.add(field.Duplicate(at.Child("audience"), t.Audience))
			continue
		}
		audiences[t.Audience] = true
		c.tokenLife(at, t.ExpirationSeconds)
	}
	if n := s.NodeAllocatableUpdatePeriodSeconds; n != nil && *n < 10 {
		c.invalid(p.Child("nodeAllocatableUpdatePeriodSeconds"), *n, "must be greater than or equal to 10 seconds")
	}
	if old != nil {
		// The path is Kubernetes' spelling.
		same(c, p, "attachedRequired", deref(s.AttachRequired, true), deref(old.Spec.AttachRequired, true))
		if !slices.Equal(s.VolumeLifecycleModes, old.Spec.VolumeLifecycleModes) {
			c.invalid(p.Child("volumeLifecycleModes"), s.VolumeLifecycleModes, immutable)
		}
	}
	return c.errs
}

func (c *checker) tokenLife(p *path, seconds *int64) {
	switch {
	case seconds == nil:
	case *seconds < 600:
		c.invalid(p.Child("expirationSeconds"), *seconds, "may not specify a duration less than 10 minutes")
	case *seconds > 1<<32:
		c.invalid(p.Child("expirationSeconds"), *seconds, "may not specify a duration larger than 2^32 seconds")
	}
}

func csiDriverWarnings(o, old *storagev1.CSIDriver) []string {
	s := &o.Spec
	asks := len(s.TokenRequests) > 0 && (old == nil || !equality.Semantic.DeepEqual(s.TokenRequests, old.Spec.TokenRequests))
	if !asks || s.ServiceAccountTokenInSecrets != nil {
		return nil
	}
	return []string{"spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes"}
}

// driverName checks the required name of a CSI driver.
func (c *checker) driverName(p *path, name, value string) {
	if value == "" {
		c.required(p.Child(name), "")
		return
	}
	if len(value) > maxDriverName {
		c.add(field.TooLong(p.Child(name), "", maxDriverName))
	}
	c.messages(p, name, value, validation.IsDNS1123Subdomain(strings.ToLower(value)))
}

// maxDriverName is how long the name of a driver may be.
const maxDriverName = 63
