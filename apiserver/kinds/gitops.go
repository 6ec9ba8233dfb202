package kinds

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/internal/objectcel"
	"github.com/headway-sh/headway/internal/window"
)

func gitSourceKind() *kind.Kind {
	p := partsOf(func(o *v1alpha1.GitSource) *v1alpha1.GitSourceSpec { return &o.Spec }, func(o *v1alpha1.GitSource) *v1alpha1.GitSourceStatus { return &o.Status })
	status := p.statusSubresource(nil)
	status.Prepare = prepare(func(o, old *v1alpha1.GitSource) {
		p.onlyStatus(o, old)
		o.Status.Approvals = old.DeepCopy().Status.Approvals // which have a path of their own
	})
	status.Resets = append(status.Resets, "status.approvals")
	return &kind.Kind{
		GVK:           v1alpha1.SchemeGroupVersion.WithKind("GitSource"),
		Plural:        "gitsources",
		Singular:      "gitsource",
		ShortNames:    []string{"gs"},
		Categories:    []string{"gitops"},
		StoragePrefix: v1alpha1.GroupName + "/gitsources",
		New:           func() txn.Object { return &v1alpha1.GitSource{} },
		NewList:       func() runtime.Object { return &v1alpha1.GitSourceList{} },
		Default:       defaults(v1alpha1.SetDefaultsGitSource),
		Prepare:       p.main,
		Validate:      validate(validateGitSource),
		Subresources: map[string]kind.Subresource{
			"status": status,
			v1alpha1.SubresourceApproval: {
				Verbs: []string{"get", "patch", "update"}, Set: approveGitSource, Prepare: p.onlyStatus, Validate: validate(v1alpha1.ValidateApprovals),
				Get: func(o txn.Object) (txn.Object, error) { return o, nil },
			},
		},
		Columns: append([]column{
			nameColumn(), str("Revision", "The commit that is applied."), str("Suspended", "Whether commits are held back."),
			str("Ready", "Whether the newest commit is applied."), str("Health", "Health of the applied objects."),
			integer("Drift", "How many deviations from git are on record."), str("Message", "What was done last, or what is wrong."), ageColumn(),
		}, wide(str("URL", "The repository."))...),
		Row: row(func(o *v1alpha1.GitSource, now time.Time) []any {
			ready, message := condition(o.Status.Conditions, "Ready")
			return []any{o.Name, revision(o.Status.ObservedRef, o.Status.AppliedCommit), heldBack(o), ready,
				orUnknown(o.Status.Health), int64(o.Status.DriftCount), message, age(o, now), o.Spec.URL}
		}),
	}
}

// approveGitSource takes the approvals and nothing else from what is written;
// of too many the newest stay.
func approveGitSource(o, parameter txn.Object, _ time.Time) (txn.Object, error) {
	written, ok := parameter.(*v1alpha1.GitSource)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected a GitSource, got %T", parameter))
	}
	c := o.DeepCopyObject().(*v1alpha1.GitSource)
	c.ResourceVersion, c.ManagedFields = written.ResourceVersion, written.ManagedFields
	all := written.DeepCopy().Status.Approvals
	c.Status.Approvals = all[max(0, len(all)-v1alpha1.MaxApprovals):]
	return c, nil
}

// validateGitSource also compiles the expressions, which the types alone
// cannot.
func validateGitSource(o, old *v1alpha1.GitSource) field.ErrorList {
	errs := v1alpha1.ValidateGitSource(o, old)
	for i, c := range o.Spec.Health.Checks {
		at := field.NewPath("spec", "health", "checks").Index(i)
		for name, expression := range map[string]string{"healthy": c.Healthy, "failed": c.Failed} {
			if expression == "" {
				continue
			}
			if _, err := objectcel.Compile(expression); err != nil {
				errs = append(errs, field.Invalid(at.Child(name), expression, err.Error()))
			}
		}
	}
	for i, d := range o.Spec.DependsOn {
		if d.Ready == "" {
			continue
		}
		if _, err := objectcel.Compile(d.Ready); err != nil {
			errs = append(errs, field.Invalid(field.NewPath("spec", "dependsOn").Index(i).Child("ready"), d.Ready, err.Error()))
		}
	}
	for i, w := range o.Spec.Windows {
		if _, err := window.New(w.Kind == v1alpha1.WindowDeny, w.Schedule, w.Duration.Duration, w.TimeZone); err != nil {
			errs = append(errs, field.Invalid(field.NewPath("spec", "windows").Index(i), w.Schedule, err.Error()))
		}
	}
	return errs
}

func releaseKind() *kind.Kind {
	p := partsOf(func(o *v1alpha1.Release) *v1alpha1.ReleaseSpec { return &o.Spec }, func(o *v1alpha1.Release) *v1alpha1.ReleaseStatus { return &o.Status })
	return &kind.Kind{
		GVK:           v1alpha1.SchemeGroupVersion.WithKind("Release"),
		Plural:        "releases",
		Singular:      "release",
		ShortNames:    []string{"rel"},
		Categories:    []string{"gitops"},
		StoragePrefix: v1alpha1.GroupName + "/releases",
		New:           func() txn.Object { return &v1alpha1.Release{} },
		NewList:       func() runtime.Object { return &v1alpha1.ReleaseList{} },
		Default:       defaults(v1alpha1.SetDefaultsRelease),
		Prepare:       p.main,
		Validate:      validate(v1alpha1.ValidateRelease),
		Subresources:  map[string]kind.Subresource{"status": p.statusSubresource(nil)},
		Columns: append([]column{
			nameColumn(), str("Source", "The GitSource."), str("Commit", "The commit."), str("Phase", "How far the commit has come."),
			str("Message", "The commit's subject."), ageColumn(),
		}, wide(str("Author", "Who wrote the commit."))...),
		Row: row(func(o *v1alpha1.Release, now time.Time) []any {
			subject, _, _ := strings.Cut(o.Spec.Message, "\n")
			return []any{o.Name, o.Spec.Source, short(o.Spec.Commit), string(o.Status.Phase), subject, age(o, now), o.Spec.Author}
		}),
	}
}

func planKind() *kind.Kind {
	p := partsOf(func(o *v1alpha1.Plan) *v1alpha1.PlanSpec { return &o.Spec }, func(o *v1alpha1.Plan) *v1alpha1.PlanStatus { return &o.Status })
	return &kind.Kind{
		GVK:           v1alpha1.SchemeGroupVersion.WithKind("Plan"),
		Plural:        "plans",
		Singular:      "plan",
		Categories:    []string{"gitops"},
		StoragePrefix: v1alpha1.GroupName + "/plans",
		New:           func() txn.Object { return &v1alpha1.Plan{} },
		NewList:       func() runtime.Object { return &v1alpha1.PlanList{} },
		Default:       defaults(v1alpha1.SetDefaultsPlan),
		Prepare:       p.main,
		Validate:      validate(v1alpha1.ValidatePlan),
		Subresources:  map[string]kind.Subresource{"status": p.statusSubresource(nil)},
		Columns:       []column{nameColumn(), ageColumn()},
		Row: row(func(o *v1alpha1.Plan, now time.Time) []any {
			return []any{o.Name, age(o, now)}
		}),
	}
}

func condition(all []metav1.Condition, name string) (status, message string) {
	for _, c := range all {
		if c.Type == name {
			return string(c.Status), c.Message
		}
	}
	return "Unknown", ""
}

func revision(ref, commit string) string {
	if commit == "" {
		return "<none>"
	}
	return strings.TrimPrefix(cmp.Or(strings.TrimPrefix(ref, "refs/heads/"), "HEAD"), "refs/") + "@sha1:" + short(commit)
}

func short(commit string) string { return commit[:min(8, len(commit))] }

// heldBack is whether commits wait, and for what.
func heldBack(o *v1alpha1.GitSource) string {
	if o.Spec.Suspend == nil && o.Status.Frozen != nil {
		return "Frozen"
	}
	if o.Spec.Suspend == nil && o.Status.Awaits != nil {
		return "Approval"
	}
	return yesNo(o.Spec.Suspend != nil)
}

func yesNo(b bool) string {
	if b {
		return "True"
	}
	return "False"
}
