package kinds

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/txn"
)

// Indexes that rows declare, for txn.View.EachIndexed.
const (
	// IndexNode finds pods by the node they are bound to; "" finds those that
	// are bound to none.
	IndexNode = "spec.nodeName"
	// IndexController finds pods and replica sets by their controller's UID.
	IndexController = "metadata.controller"
	// IndexInvolvedUID finds events by the UID of the object they are about.
	IndexInvolvedUID = "involvedObject.uid"
	// IndexService finds endpoint slices by their service's name.
	IndexService = "kubernetes.io/service-name"
)

func controllerUIDs(o txn.Object) []string {
	if owner := metav1.GetControllerOfNoCopy(o); owner != nil {
		return []string{string(owner.UID)}
	}
	return nil
}

func labelValue(o metav1.Object, key string) []string {
	if v, ok := o.GetLabels()[key]; ok {
		return []string{v}
	}
	return nil
}
