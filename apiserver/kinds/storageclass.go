package kinds

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func storageClassKind() *kind.Kind {
	doc := storagev1.StorageClass{}.SwaggerDoc()
	return &kind.Kind{
		GVK:           storagev1.SchemeGroupVersion.WithKind("StorageClass"),
		Plural:        "storageclasses",
		Singular:      "storageclass",
		ShortNames:    []string{"sc"},
		StoragePrefix: "storageclasses",
		New:           func() txn.Object { return &storagev1.StorageClass{} },
		NewList:       func() runtime.Object { return &storagev1.StorageClassList{} },
		Default: defaults(func(o *storagev1.StorageClass) {
			setDefaultPtr(&o.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)
			setDefaultPtr(&o.VolumeBindingMode, storagev1.VolumeBindingImmediate)
		}),
		Validate: validate(checkStorageClass),
		Columns: []column{
			nameColumn(), str("Provisioner", doc["provisioner"]), str("ReclaimPolicy", doc["reclaimPolicy"]),
			str("VolumeBindingMode", doc["volumeBindingMode"]), str("AllowVolumeExpansion", doc["allowVolumeExpansion"]), ageColumn(),
		},
		Row: row(func(o *storagev1.StorageClass, now time.Time) []any {
			name := o.Name
			if o.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" {
				name += " (default)"
			}
			return []any{
				name, o.Provisioner, string(deref(o.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)),
				string(deref(o.VolumeBindingMode, storagev1.VolumeBindingImmediate)), deref(o.AllowVolumeExpansion, false), age(o, now),
			}
		}),
	}
}
