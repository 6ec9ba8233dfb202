package gitsource

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/fetch"
	"github.com/headway-sh/headway/gitsource/hosted"
	"github.com/headway-sh/headway/gitsource/repo"
	"github.com/headway-sh/headway/gitsource/report"
)

// outlet is the repository that a source's reports are written to.
type outlet struct {
	url      string
	own      bool // the source's
	follower *follower
	secret   v1alpha1.SecretReference
	place    report.Place
	err      error         // why there is no place
	member   *fetch.Member // nil for what is not fetched for reports alone
}

// refuses tells whether a report goes elsewhere because of an error.
func (o *outlet) refuses(err error) bool {
	return o.own && (errors.Is(err, repo.ErrReadOnly) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS))
}

func (o *outlet) close() {
	switch {
	case o == nil || o.own:
	case o.member != nil:
		o.member.Leave()
	case o.place.Repo != nil:
		_ = o.place.Repo.Close() // what was written is on the disk
	}
}

// reportsAt is the URL of the repository that reports belong to.
func (s *source) reportsAt() string {
	spec := &s.object.Spec.Reports
	switch {
	case spec.URL != "":
		return spec.URL
	case spec.ReadOnly || s.unwritable != "" || s.follower != nil && s.follower.bundle:
		return v1alpha1.HostedScheme + s.name
	}
	return s.object.Spec.URL
}

// outletNow is the outlet that the spec asks for now, opened.
func (s *source) outletNow(ctx context.Context) *outlet {
	url, secret := s.reportsAt(), v1alpha1.SecretReference{}
	own := url == s.object.Spec.URL && s.object.Spec.Reports.SecretRef == nil
	if ref := s.object.Spec.Reports.SecretRef; ref != nil {
		secret = *ref
	}
	if o := s.outlet; o != nil && o.url == url && o.own == own && o.secret == secret && o.err == nil && (!own || o.follower == s.follower) {
		return o
	}
	s.outlet.close()
	o := &outlet{url: url, own: own, secret: secret, follower: s.follower}
	s.outlet = o
	path := s.engine.localPath(url)
	switch {
	case own:
		o.place = report.Place{Repo: s.follower.repo, Push: s.follower.push}
	case path != "":
		o.place.Repo, o.err = s.engine.open(path)
	default:
		o.member, o.err = s.engine.fetchers.Join(ctx, fetch.Target{URL: url, Secret: secret, CABundle: string(s.object.Spec.CABundle)},
			fetch.Options{Interval: s.object.Spec.Interval.Duration, Changed: func() {}})
		if o.err == nil {
			o.place = report.Place{Repo: o.member.Repo(), Push: func(ctx context.Context, _ *repo.Repository, ref string) error { return o.member.Push(ctx, ref) }}
		}
	}
	if o.err != nil {
		s.takeReported(&reported{o, o.err})
	}
	return o
}

// reported is how a report was written.
type reported struct {
	outlet *outlet
	err    error
}

// takeReported says in a condition where reports are. Those of a repository
// that takes no pushes go to one that the server keeps.
func (s *source) takeReported(r *reported) {
	if s.object.Spec.Reports.Disabled {
		meta.RemoveStatusCondition(&s.status.Conditions, v1alpha1.ConditionReported)
		return
	}
	if r == nil || r.outlet != s.outlet {
		return
	}
	switch {
	case r.outlet.refuses(r.err):
		s.unwritable = r.err.Error()
		s.engine.cfg.Events(s.object, corev1.EventTypeWarning, reasonReadOnly, s.unwritable+"; reports are "+s.whereReports())
	case errors.Is(r.err, report.ErrForeign):
		s.condition(v1alpha1.ConditionReported, false, "ForeignBranch", r.err.Error())
	case r.err != nil:
		s.condition(v1alpha1.ConditionReported, false, "NotWritten", r.err.Error())
	case s.unwritable != "" && s.object.Spec.Reports.URL == "":
		s.condition(v1alpha1.ConditionReported, true, reasonReadOnly, s.unwritable+"; reports are "+s.whereReports())
	default:
		s.condition(v1alpha1.ConditionReported, true, "Written", "reports are "+s.whereReports())
	}
}

const reasonReadOnly = "ReadOnlyRemote"

// whereReports says where people read the reports.
func (s *source) whereReports() string {
	url := s.reportsAt()
	out := fmt.Sprintf("on the branch %s of %s", s.reportBranch(), cmp.Or(url, "the repository"))
	if name := v1alpha1.HostedName(url); name != "" {
		out += fmt.Sprintf(": git clone -b %s https://SERVER%s%s, or %s on the server's machine", s.reportBranch(), hosted.Prefix, name, s.engine.localPath(url))
	}
	return out
}
