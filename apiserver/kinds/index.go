package kinds

import (
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/internal/ownership"
)

// Indexes that rows declare, for txn.View.EachIndexed.
const (
	// IndexNode finds pods by the node they are bound to; "" finds those that
	// are bound to none.
	IndexNode = "spec.nodeName"
	// IndexInvolvedUID finds events by the UID of the object they are about.
	IndexInvolvedUID = "involvedObject.uid"
	// IndexService finds endpoint slices by their service's name.
	IndexService = "kubernetes.io/service-name"
)

// owned are the indexes of a kind whose objects have controllers that adopt, and
// further ones of the kind.
func owned(more map[string]func(txn.Object) []string) map[string]func(txn.Object) []string {
	all := map[string]func(txn.Object) []string{
		ownership.Controller: func(o txn.Object) []string { return ownership.ControllerOf(o) },
		ownership.Orphan:     func(o txn.Object) []string { return ownership.OrphanIn(o) },
	}
	maps.Copy(all, more)
	return all
}

func labelValue(o metav1.Object, key string) []string {
	if v, ok := o.GetLabels()[key]; ok {
		return []string{v}
	}
	return nil
}
