package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// approveCommand consents to a plan.
func approveCommand() *cobra.Command {
	var digest, reason string
	var revoke bool
	cmd := &cobra.Command{
		Use:   "approve [SOURCE]",
		Short: "Consent to what a waiting commit or a planned pull request would do",
		Long: `Consent to what a waiting commit would do, by the digest of its plan: what is
applied is exactly that, or it waits again. --digest names the plan; those of
pull requests are in their Plans, comments and reports, and the consent counts
for the commit that they are merged as, should it do the same. Without it the
commit that waits now is shown and consented to. It needs the verb "approve" on
the GitSource, and "patch" or "update" on gitsources/approval. Exit status: 0
consented, 1 nothing waits, 4 not permitted.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := userCluster(cmd)
			if err != nil {
				return err
			}
			source := sourceName(args)
			what, err := approvable(cmd.Context(), c, source, digest, revoke)
			if err != nil {
				return err
			}
			if err := writeApproval(cmd.Context(), c, source, v1alpha1.Approval{Digest: what.Digest, Reason: reason}, revoke); err != nil {
				if apierrors.IsForbidden(err) {
					return exitCode{exitRejected, err}
				}
				return err
			}
			if revoke {
				progressOf(cmd).Done("the consent to %s is taken back", what.Digest)
				return nil
			}
			progressOf(cmd).Done("%.12s: %s: approved as %s", what.Commit, what.Summary, what.Digest)
			return nil
		},
	}
	cmd.Flags().StringVar(&digest, "digest", "", "of the plan (default: that of the commit which waits)")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for people")
	cmd.Flags().BoolVar(&revoke, "revoke", false, "take back a consent that is not used yet")
	return cmd
}

// approvable finds what a person consents to: a digest that nobody has planned
// is a mistake.
func approvable(ctx context.Context, c *cluster, source, digest string, revoke bool) (*v1alpha1.AwaitedApproval, error) {
	var o v1alpha1.GitSource
	if err := c.Get(ctx, client.ObjectKey{Name: source}, &o); err != nil {
		return nil, err
	}
	awaits := o.Status.Awaits
	switch {
	case revoke && digest == "":
		return nil, errors.New("name the consent to take back with --digest")
	case revoke:
		return &v1alpha1.AwaitedApproval{Digest: digest}, nil
	case digest == "" && awaits == nil:
		return nil, exitCode{exitDiffers, fmt.Errorf("no commit of %s waits for approval", source)}
	case awaits != nil && (digest == "" || digest == awaits.Digest):
		return awaits, nil
	}
	var plans v1alpha1.PlanList
	if err := c.List(ctx, &plans); err != nil {
		return nil, err
	}
	for i := range plans.Items {
		if p := &plans.Items[i]; p.Spec.Source == source && p.Status.Digest == digest {
			return &v1alpha1.AwaitedApproval{Commit: p.Status.Commit, Digest: digest, Summary: p.Status.Summary}, nil
		}
	}
	return nil, exitCode{exitDiffers, fmt.Errorf("no plan of %s has the digest %q now: the cluster or the commit has changed since", source, digest)}
}

// writeApproval adds a consent, or takes it back.
func writeApproval(ctx context.Context, c client.Client, source string, a v1alpha1.Approval, revoke bool) error {
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		var o v1alpha1.GitSource
		if err := c.Get(ctx, client.ObjectKey{Name: source}, &o); err != nil {
			return err
		}
		before := len(o.Status.Approvals)
		o.Status.Approvals = slices.DeleteFunc(o.Status.Approvals, func(b v1alpha1.Approval) bool { return b.Digest == a.Digest })
		switch {
		case revoke && len(o.Status.Approvals) == before:
			return exitCode{exitDiffers, fmt.Errorf("%s has no unused consent to %s", source, a.Digest)}
		case !revoke && len(o.Status.Approvals) < before:
			return nil // somebody has consented already
		case !revoke:
			o.Status.Approvals = append(o.Status.Approvals, a)
		}
		return c.SubResource(v1alpha1.SubresourceApproval).Update(ctx, &o, client.FieldOwner(steerer))
	})
}
