package kinds

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func resourceQuotaKind() *kind.Kind {
	p := partsOf(func(o *corev1.ResourceQuota) *corev1.ResourceQuotaSpec { return &o.Spec }, func(o *corev1.ResourceQuota) *corev1.ResourceQuotaStatus { return &o.Status })
	return &kind.Kind{
		GVK:           corev1.SchemeGroupVersion.WithKind("ResourceQuota"),
		Plural:        "resourcequotas",
		Singular:      "resourcequota",
		ShortNames:    []string{"quota"},
		Namespaced:    true,
		StoragePrefix: "resourcequotas",
		New:           func() txn.Object { return &corev1.ResourceQuota{} },
		NewList:       func() runtime.Object { return &corev1.ResourceQuotaList{} },
		Default: defaults(func(o *corev1.ResourceQuota) {
			roundResources(o.Spec.Hard)
			roundResources(o.Status.Hard)
			roundResources(o.Status.Used)
		}),
		Prepare:      p.withoutStatus,
		Subresources: map[string]kind.Subresource{"status": p.statusSubresource(checkResourceQuotaStatus)},
		Validate:     validate(checkResourceQuota),
		Columns: []column{
			nameColumn(), str("Request", "Used and allowed amounts, limits apart."),
			str("Limit", "Used and allowed amounts of limits."), ageColumn(),
		},
		Row: row(resourceQuotaRow),
	}
}

func resourceQuotaRow(o *corev1.ResourceQuota, now time.Time) []any {
	names := make([]string, 0, len(o.Status.Hard))
	for name := range o.Status.Hard {
		names = append(names, string(name))
	}
	slices.Sort(names)
	var requests, limits []string
	for _, name := range names {
		used, hard := o.Status.Used[corev1.ResourceName(name)], o.Status.Hard[corev1.ResourceName(name)]
		text := fmt.Sprintf("%s: %s/%s", name, used.String(), hard.String())
		if strings.HasPrefix(name, "limits") {
			limits = append(limits, text)
		} else {
			requests = append(requests, text)
		}
	}
	return []any{o.Name, strings.Join(requests, ", "), strings.Join(limits, ", "), age(o, now)}
}
