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
			o.Status.Approvals = stamped(o.Status.Approvals, old.Status.Approvals, r.Identity.Name, r.Now)
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

// stamped are written approvals with who and when: those that were there before
// are as they were, all others are of who writes now, and take the place of his
// earlier ones to the same plans.
func stamped(written, before []v1alpha1.Approval, by string, now time.Time) []v1alpha1.Approval {
	type key struct{ digest, by string }
	given, renewed := map[key]v1alpha1.Approval{}, map[string]bool{}
	for _, a := range before {
		given[key{a.Digest, a.By}] = a
	}
	fresh := func(a v1alpha1.Approval) bool {
		_, ok := given[key{a.Digest, a.By}]
		return !ok
	}
	for _, a := range written {
		renewed[a.Digest] = renewed[a.Digest] || fresh(a)
	}
	out, done := make([]v1alpha1.Approval, 0, len(written)), map[string]bool{}
	for _, a := range written {
		switch isFresh := fresh(a); {
		case !isFresh && a.By == by && renewed[a.Digest], isFresh && done[a.Digest]:
		case !isFresh:
			had := given[key{a.Digest, a.By}]
			out = append(out, *had.DeepCopy())
		default:
			done[a.Digest] = true
			a.By, a.Time = by, &metav1.Time{Time: now.UTC().Truncate(time.Second)}
			out = append(out, a)
		}
	}
	return out
}
