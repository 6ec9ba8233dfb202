package kinds

import (
	"context"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

// componentStatusKind is read by older clients only, and never stored.
func componentStatusKind() *kind.Kind {
	return &kind.Kind{
		GVK:           corev1.SchemeGroupVersion.WithKind("ComponentStatus"),
		Plural:        "componentstatuses",
		Singular:      "componentstatus",
		ShortNames:    []string{"cs"},
		StoragePrefix: "componentstatuses",
		Deprecated:    "v1 ComponentStatus is deprecated in v1.19+",
		Verbs:         []string{"get", "list"},
		New:           func() txn.Object { return &corev1.ComponentStatus{} },         //nolint:staticcheck // deprecated, and served
		NewList:       func() runtime.Object { return &corev1.ComponentStatusList{} }, //nolint:staticcheck // as above
		Computed:      componentStatuses,
		Columns:       []column{nameColumn(), str("Status", "Status of the component conditions"), str("Message", "Message of the component conditions"), str("Error", "Error of the component conditions")},
		Row: row(func(o *corev1.ComponentStatus, _ time.Time) []any { //nolint:staticcheck // as above
			status, message, failure := "Unknown", "", ""
			for _, c := range o.Conditions {
				if c.Type != corev1.ComponentHealthy {
					continue
				}
				status, message, failure = "Unhealthy", c.Message, c.Error
				if c.Status == corev1.ConditionTrue {
					status = "Healthy"
				}
			}
			return []any{o.Name, status, message, failure}
		}),
	}
}

// componentStatuses tells of the singletons by the Leases that they hold, and
// of the storage: whoever gets an answer at all reads from a storage that works.
func componentStatuses(_ context.Context, view txn.View, _ string) ([]txn.Object, error) {
	led := func(name string) *corev1.ComponentStatus { //nolint:staticcheck // as above
		o, ok := view.Get(txn.Ref{Resource: schema.GroupResource{Group: coordinationv1.GroupName, Resource: "leases"}, Namespace: metav1.NamespaceSystem, Name: name})
		if !ok || deref(o.(*coordinationv1.Lease).Spec.HolderIdentity, "") == "" {
			return componentStatus(name, corev1.ConditionFalse, "", "no server runs it")
		}
		return componentStatus(name, corev1.ConditionTrue, "ok", "")
	}
	manager, scheduler := led("kube-controller-manager"), led("kube-scheduler")
	manager.Name, scheduler.Name = "controller-manager", "scheduler"
	return []txn.Object{manager, componentStatus("etcd-0", corev1.ConditionTrue, "ok", ""), scheduler}, nil
}

func componentStatus(name string, healthy corev1.ConditionStatus, message, failure string) *corev1.ComponentStatus { //nolint:staticcheck // as above
	return &corev1.ComponentStatus{ //nolint:staticcheck // as above
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ComponentStatus"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Conditions: []corev1.ComponentCondition{{Type: corev1.ComponentHealthy, Status: healthy, Message: message, Error: failure}},
	}
}
