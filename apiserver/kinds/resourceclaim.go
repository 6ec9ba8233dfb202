package kinds

import (
	"strings"
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func resourceClaimKind() *kind.Kind {
	p := partsOf(func(o *resourcev1.ResourceClaim) *resourcev1.ResourceClaimSpec { return &o.Spec }, func(o *resourcev1.ResourceClaim) *resourcev1.ResourceClaimStatus { return &o.Status })
	return &kind.Kind{
		GVK:           resourcev1.SchemeGroupVersion.WithKind("ResourceClaim"),
		Plural:        "resourceclaims",
		Singular:      "resourceclaim",
		Namespaced:    true,
		StoragePrefix: "resourceclaims",
		New:           func() txn.Object { return &resourcev1.ResourceClaim{} },
		NewList:       func() runtime.Object { return &resourcev1.ResourceClaimList{} },
		Default:       defaults(func(o *resourcev1.ResourceClaim) { defaultDevices(&o.Spec.Devices) }),
		Prepare:       p.withoutStatus,
		Subresources:  map[string]kind.Subresource{"status": p.bareStatusSubresource(checkResourceClaimStatus)},
		Validate:      validate(checkResourceClaim),
		Columns:       []column{nameColumn(), str("State", "Whether the claim is allocated and reserved, and whether it is being deleted."), ageColumn()},
		Row: row(func(o *resourcev1.ResourceClaim, now time.Time) []any {
			return []any{o.Name, claimState(o), age(o, now)}
		}),
	}
}

func claimState(o *resourcev1.ResourceClaim) string {
	var states []string
	if o.DeletionTimestamp != nil {
		states = append(states, "deleted")
	}
	switch {
	case o.Status.Allocation != nil && len(o.Status.ReservedFor) > 0:
		states = append(states, "allocated", "reserved")
	case o.Status.Allocation != nil:
		states = append(states, "allocated")
	case o.DeletionTimestamp == nil:
		states = append(states, "pending")
	}
	return strings.Join(states, ",")
}

// defaultDevices asks for one device where nothing is said.
func defaultDevices(d *resourcev1.DeviceClaim) {
	one := func(mode *resourcev1.DeviceAllocationMode, count *int64) {
		setDefault(mode, resourcev1.DeviceAllocationModeExactCount)
		if *mode == resourcev1.DeviceAllocationModeExactCount {
			setDefault(count, 1)
		}
	}
	for i := range d.Requests {
		if e := d.Requests[i].Exactly; e != nil {
			one(&e.AllocationMode, &e.Count)
		}
		for j := range d.Requests[i].FirstAvailable {
			s := &d.Requests[i].FirstAvailable[j]
			one(&s.AllocationMode, &s.Count)
		}
	}
}

func checkResourceClaim(o, old *resourcev1.ResourceClaim) fieldErrors {
	c, p := &checker{}, field.NewPath("spec")
	if old == nil {
		c.deviceClaim(p.Child("devices"), &o.Spec.Devices)
	} else if !alike(o.Spec, old.Spec) {
		c.invalid(p, o.Spec, immutable)
	}
	return c.errs
}

func resourceClaimTemplateKind() *kind.Kind {
	return &kind.Kind{
		GVK:           resourcev1.SchemeGroupVersion.WithKind("ResourceClaimTemplate"),
		Plural:        "resourceclaimtemplates",
		Singular:      "resourceclaimtemplate",
		Namespaced:    true,
		StoragePrefix: "resourceclaimtemplates",
		New:           func() txn.Object { return &resourcev1.ResourceClaimTemplate{} },
		NewList:       func() runtime.Object { return &resourcev1.ResourceClaimTemplateList{} },
		Default:       defaults(func(o *resourcev1.ResourceClaimTemplate) { defaultDevices(&o.Spec.Spec.Devices) }),
		Validate:      validate(checkResourceClaimTemplate),
		Columns:       []column{nameColumn(), ageColumn()},
		Row: row(func(o *resourcev1.ResourceClaimTemplate, now time.Time) []any {
			return []any{o.Name, age(o, now)}
		}),
	}
}

func checkResourceClaimTemplate(o, old *resourcev1.ResourceClaimTemplate) fieldErrors {
	c, p := &checker{}, field.NewPath("spec")
	if old == nil {
		c.labels(p.Child("metadata", "labels"), o.Spec.Labels)
		c.deviceClaim(p.Child("spec", "devices"), &o.Spec.Spec.Devices)
	} else if !alike(o.Spec, old.Spec) {
		c.invalid(p, o.Spec, immutable)
	}
	return c.errs
}
