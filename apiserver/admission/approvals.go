package admission

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

var gitSourcesResource = v1alpha1.Resource("gitsources")

// approvals writes into new approvals of a GitSource who gives them and when,
// keeps those that are there as they are, and lets only those give or withdraw
// any who may "approve" that GitSource: the right to write the subresource alone
// is not enough, so that a role for everything of a resource's kind has to name
// the verb.
func approvals() write.Step {
	approves := func(r *write.Request) (o, old *v1alpha1.GitSource, ok bool) {
		if r.Ref.Resource != gitSourcesResource || r.Subresource != v1alpha1.SubresourceApproval {
			return nil, nil, false
		}
		o, ok = r.Object.(*v1alpha1.GitSource)
		old, was := r.Old.(*v1alpha1.GitSource)
		return o, old, ok && was
	}
	return write.Step{
		Name: "GitSourceApproval",
		Mutate: func(_ context.Context, _ txn.View, r *write.Request) error {
			o, old, ok := approves(r)
			if !ok {
				return nil
			}
			given := map[string]v1alpha1.Approval{}
			for _, a := range old.Status.Approvals {
				given[a.Digest] = a
			}
			for i := range o.Status.Approvals {
				a := &o.Status.Approvals[i]
				if before, ok := given[a.Digest]; ok {
					*a = *before.DeepCopy()
					continue
				}
				a.By, a.Time = r.Identity.Name, &metav1.Time{Time: r.Now.UTC().Truncate(time.Second)}
			}
			return nil
		},
		Validate: func(_ context.Context, view txn.View, r *write.Request) error {
			_, old, ok := approves(r)
			if !ok || authorized(view, r, v1alpha1.VerbApprove, gitSourcesResource, "", old.Name) {
				return nil
			}
			return forbidden(r, "user not permitted to approve commits of the source %q", old.Name)
		},
	}
}
