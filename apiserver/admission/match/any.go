package match

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
)

// Any tells whether a View may have objects of a resource: no costs every write
// of a cluster without webhooks or policies a look into a map and no memory.
func Any(view txn.View, resource schema.GroupResource) bool {
	counting, ok := view.(interface {
		Count(resource schema.GroupResource) int
	})
	return !ok || counting.Count(resource) > 0
}
