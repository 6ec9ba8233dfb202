package main

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// TestApprovalOnTheAPIServer: a waiting commit is applied when somebody consents
// who may, under the name that the server knows; nobody else can make it look
// so, and the consent is used up with the commit.
func TestApprovalOnTheAPIServer(t *testing.T) {
	t.Parallel()
	c, as := roomsOf(t)
	ctx := t.Context()
	sources := asking(t, c, v1alpha1.ApprovalSpec{Required: v1alpha1.ApprovalAlways})
	var o *v1alpha1.GitSource
	until(t, sources, func(e watch.Event) bool {
		o = e.Object.(*v1alpha1.GitSource)
		return o.Status.Awaits != nil
	})
	digest := o.Status.Awaits.Digest
	rules := func(name string, rules ...rbacv1.PolicyRule) client.Client {
		t.Helper()
		ok(t, c.Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}))
		ok(t, c.Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}, Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: name}}}))
		return as(name)
	}
	on := func(resource string, verbs ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{v1alpha1.GroupName}, Resources: []string{resource}, Verbs: verbs}
	}
	read := on("gitsources", "get", "list")
	writer := rules("writer", read, on("gitsources/approval", "update"), on("gitsources/status", "update"))
	jane := rules("jane", read, on("gitsources/approval", "update"), rbacv1.PolicyRule{
		APIGroups: []string{v1alpha1.GroupName}, Resources: []string{"gitsources"}, ResourceNames: []string{"main"}, Verbs: []string{"approve"},
	})

	// Who may write the subresource may not consent, and the status takes none.
	_, err := writeApproval(ctx, writer, "main", v1alpha1.Approval{Digest: digest}, false)
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `not permitted to approve commits of the source "main"`) {
		t.Errorf("without the verb: %v", err)
	}
	ok(t, writer.Get(ctx, client.ObjectKey{Name: "main"}, o))
	o.Status.Approvals = []v1alpha1.Approval{{Digest: digest, By: "jane"}}
	ok(t, writer.Status().Update(ctx, o))
	if len(o.Status.Approvals) != 0 {
		t.Errorf("the status has taken %+v", o.Status.Approvals)
	}
	_, err = writeApproval(ctx, jane, "main", v1alpha1.Approval{Digest: "nonsense"}, false)
	if !apierrors.IsInvalid(err) {
		t.Errorf("nonsense: %v", err)
	}
	var none corev1.ConfigMap
	if err := c.Get(ctx, client.ObjectKey{Namespace: "default", Name: "movable"}, &none); !apierrors.IsNotFound(err) {
		t.Errorf("the waiting commit was written: %v", err)
	}

	_, err = writeApproval(ctx, jane, "main", v1alpha1.Approval{Digest: digest, Reason: "fine", By: "somebody else"}, false)
	ok(t, err)
	until(t, sources, func(e watch.Event) bool {
		o = e.Object.(*v1alpha1.GitSource)
		return o.Status.AppliedCommit != ""
	})
	if len(o.Status.Approvals) != 0 || o.Status.Awaits != nil {
		t.Errorf("after the commit: %+v, %+v", o.Status.Approvals, o.Status.Awaits)
	}
	var r v1alpha1.Release
	ok(t, c.Get(ctx, client.ObjectKey{Name: v1alpha1.ReleaseName("main", o.Status.AppliedCommit)}, &r))
	if a := r.Status.Approval; a == nil || a.By != "jane" || a.Reason != "fine" || a.Time.IsZero() || r.Status.PlanDigest != digest {
		t.Errorf("the release says %+v, digest %s", a, r.Status.PlanDigest)
	}
}

// TestTwoApproversOnTheAPIServer: everybody consents for himself, once, under his
// own name, and takes back his own only.
func TestTwoApproversOnTheAPIServer(t *testing.T) {
	t.Parallel()
	c, as := roomsOf(t)
	ctx := t.Context()
	sources := asking(t, c, v1alpha1.ApprovalSpec{Required: v1alpha1.ApprovalAlways, Count: 2, Expires: &metav1.Duration{Duration: time.Hour}})
	var o *v1alpha1.GitSource
	until(t, sources, func(e watch.Event) bool {
		o = e.Object.(*v1alpha1.GitSource)
		return o.Status.Awaits != nil
	})
	digest := o.Status.Awaits.Digest
	ok(t, c.Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "approver"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{v1alpha1.GroupName}, Resources: []string{"gitsources", "gitsources/approval"}, Verbs: []string{"get", "update", "approve"}}}}))
	ok(t, c.Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "approver"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "approver"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "jane"}, {APIGroup: rbacv1.GroupName, Kind: "User", Name: "john"}}}))
	consent := func(user, reason string, revoke bool) (*v1alpha1.GitSource, error) {
		return writeApproval(ctx, as(user), "main", v1alpha1.Approval{Digest: digest, Reason: reason, By: user}, revoke)
	}
	_, err := consent("jane", "first", false)
	ok(t, err)
	o, err = consent("jane", "again", false)
	ok(t, err)
	if all := o.Status.Approvals; len(all) != 1 || all[0].By != "jane" || all[0].Reason != "again" {
		t.Errorf("jane has consented twice: %+v", all)
	}
	if got := stillWanted(o, digest); !strings.HasPrefix(got, "; 1 of 2 have approved; it counts until ") {
		t.Errorf("she is told %q", got)
	}
	if _, err = consent("john", "", true); err == nil || !strings.Contains(err.Error(), "by john, only by jane") {
		t.Errorf("john takes back what jane has said: %v", err)
	}
	// Nobody consents in another's name.
	var forged v1alpha1.GitSource
	ok(t, retry.RetryOnConflict(retry.DefaultRetry, func() error {
		forged = v1alpha1.GitSource{}
		if err := as("jane").Get(ctx, client.ObjectKey{Name: "main"}, &forged); err != nil {
			return err
		}
		forged.Status.Approvals = append(forged.Status.Approvals, v1alpha1.Approval{Digest: digest, By: "john", Reason: "forged"})
		return as("jane").SubResource(v1alpha1.SubresourceApproval).Update(ctx, &forged)
	}))
	if all := forged.Status.Approvals; len(all) != 1 || all[0].By != "jane" {
		t.Errorf("forged: %+v", all)
	}
	_, err = consent("john", "", false)
	ok(t, err)
	until(t, sources, func(e watch.Event) bool {
		o = e.Object.(*v1alpha1.GitSource)
		return o.Status.AppliedCommit != ""
	})
	var r v1alpha1.Release
	ok(t, c.Get(ctx, client.ObjectKey{Name: v1alpha1.ReleaseName("main", o.Status.AppliedCommit)}, &r))
	if all := r.Status.Approvals; len(all) != 2 || all[0].By != "jane" || all[1].By != "john" || len(o.Status.Approvals) != 0 {
		t.Errorf("the release says %+v, left are %+v", all, o.Status.Approvals)
	}
}

// asking makes a source with a commit, whose changes somebody has to consent to,
// and watches it.
func asking(t *testing.T, c client.WithWatch, approval v1alpha1.ApprovalSpec) watch.Interface {
	t.Helper()
	git := cloneOf(t, map[string]string{"one.yaml": movable})
	sources, err := c.Watch(t.Context(), &v1alpha1.GitSourceList{})
	ok(t, err)
	t.Cleanup(sources.Stop)
	ok(t, c.Create(t.Context(), &v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Name: "main"}, Spec: v1alpha1.GitSourceSpec{
		URL: git.dir, Ref: v1alpha1.GitReference{Branch: "main"}, Reports: v1alpha1.ReportsSpec{Disabled: true}, Approval: approval,
	}}))
	return sources
}
