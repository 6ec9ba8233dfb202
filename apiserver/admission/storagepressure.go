package admission

import (
	"context"
	"fmt"
	"net/http"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

// How full the storage may be for a write to be let in.
const (
	eventsUntil  = 0.70
	createsUntil = 0.85
)

// storagePressure stops what fills the storage before it is full, so that what
// keeps the cluster alive, and what makes room, still works: events first, then
// everything new. Changes, deletions and leases always go on.
func storagePressure(pressure func() float64) write.Step {
	events := map[schema.GroupResource]bool{
		corev1.Resource("events"):                       true,
		{Group: eventsv1.GroupName, Resource: "events"}: true,
	}
	leases := schema.GroupResource{Group: coordinationv1.GroupName, Resource: "leases"}
	return write.Step{Name: "StoragePressure", Mutate: func(_ context.Context, _ txn.View, r *write.Request) error {
		if pressure == nil || r.Operation == write.OperationDelete {
			return nil
		}
		full := pressure()
		switch {
		case full < eventsUntil:
		case events[r.Ref.Resource]:
			return storageFull(r, full, eventsUntil, "events")
		case full < createsUntil || r.Ref.Resource == leases:
		case r.Operation == write.OperationCreate && r.Subresource == "":
			return storageFull(r, full, createsUntil, "new objects")
		}
		return nil
	}}
}

func storageFull(r *write.Request, full, until float64, what string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusInsufficientStorage, Reason: metav1.StatusReasonForbidden,
		Message: fmt.Sprintf("%s %q is refused: the cluster's storage is %.0f %% full, and %s are let in up to %.0f %%: delete what is not needed",
			r.Ref.Resource, r.Ref.Name, 100*full, what, 100*until),
		Details: &metav1.StatusDetails{Group: r.Ref.Resource.Group, Kind: r.Ref.Resource.Resource, Name: r.Ref.Name},
	}}
}
