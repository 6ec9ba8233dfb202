package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

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
commit that waits now is shown and consented to. Where a source asks several
people (spec.approval.count), each consents for himself. It needs the verb "approve" on
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
			me, err := whoAmI(cmd.Context(), c)
			if err != nil {
				return err
			}
			if named := authorOf(what, me); named != "" && !revoke {
				return exitCode{exitRejected, fmt.Errorf("%s has a hand in what waits (%s), and the source asks others for consent (spec.approval.notAuthor)", me, named)}
			}
			o, err := writeApproval(cmd.Context(), c, source, v1alpha1.Approval{Digest: what.Digest, Reason: reason, By: me}, revoke)
			if apierrors.IsForbidden(err) {
				return exitCode{exitRejected, err}
			}
			if err != nil {
				return err
			}
			if revoke {
				progressOf(cmd).Done("the consent of %s to %s is taken back", me, what.Digest)
				return nil
			}
			progressOf(cmd).Done("%.12s: %s: approved by %s as %s%s", what.Commit, what.Summary, me, what.Digest, stillWanted(o, what.Digest))
			return nil
		},
	}
	cmd.Flags().StringVar(&digest, "digest", "", "of the plan (default: that of the commit which waits)")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for people")
	cmd.Flags().BoolVar(&revoke, "revoke", false, "take back your consent, as long as it is not used")
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

// authorOf is who of those that wrote what waits somebody may be, where their
// consent does not count; empty: nobody.
func authorOf(what *v1alpha1.AwaitedApproval, me string) string {
	for _, named := range what.Authors {
		if v1alpha1.SamePerson(me, named) {
			return named
		}
	}
	return ""
}

// stillWanted says how many others have to consent, and for how long a consent
// counts.
func stillWanted(o *v1alpha1.GitSource, digest string) string {
	spec, now := &o.Spec.Approval, time.Now()
	have, ends := int32(0), ""
	for i := range o.Status.Approvals {
		a := &o.Status.Approvals[i]
		if a.Digest != digest {
			continue
		}
		until, counts := spec.Counts(a, now)
		if counts {
			have++
		}
		if until != nil {
			ends = until.Local().Format("2006-01-02 15:04")
		}
	}
	out := ""
	if spec.Count > 1 {
		out = fmt.Sprintf("; %d of %d have approved", have, spec.Count)
	}
	if ends != "" {
		out += "; it counts until " + ends
	}
	return out
}

// writeApproval adds a consent, in place of an earlier one of the same person
// (a.By), or takes it back. It gives the source as it is then.
func writeApproval(ctx context.Context, c client.Client, source string, a v1alpha1.Approval, revoke bool) (*v1alpha1.GitSource, error) {
	var o v1alpha1.GitSource
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		o = v1alpha1.GitSource{}
		if err := c.Get(ctx, client.ObjectKey{Name: source}, &o); err != nil {
			return err
		}
		var others []string
		before := len(o.Status.Approvals)
		o.Status.Approvals = slices.DeleteFunc(o.Status.Approvals, func(b v1alpha1.Approval) bool {
			if b.Digest == a.Digest && b.By != a.By {
				others = append(others, b.By)
			}
			return b.Digest == a.Digest && b.By == a.By
		})
		switch {
		case revoke && len(o.Status.Approvals) == before && len(others) > 0:
			return exitCode{exitDiffers, fmt.Errorf("%s has no unused consent to %s by %s, only by %s", source, a.Digest, a.By, strings.Join(others, ", "))}
		case revoke && len(o.Status.Approvals) == before:
			return exitCode{exitDiffers, fmt.Errorf("%s has no unused consent to %s", source, a.Digest)}
		case !revoke:
			fresh := a
			fresh.By = "" // which the server fills in
			o.Status.Approvals = append(o.Status.Approvals, fresh)
		}
		return c.SubResource(v1alpha1.SubresourceApproval).Update(ctx, &o, client.FieldOwner(steerer))
	})
	return &o, err
}
