package gitsource

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/drift"
)

// recorded is what was told of last, as events and in the metrics.
type recorded struct {
	release string
	phase   v1alpha1.ReleasePhase
	frozen  string // the reason for which no commit is applied; empty: none
}

// standing reasons keep commits back until something else happens.
var standing = map[string]bool{"Suspended": true, "Frozen": true, "Held": true, "Waiting": true, "Pinned": true, reasonApproval: true, reasonPromotion: true}

// current is what there is to tell now.
func (s *source) current() recorded {
	a := recorded{}
	if s.release != nil {
		a.release, a.phase = s.release.Name, s.release.Status.Phase
	}
	if c := meta.FindStatusCondition(s.status.Conditions, v1alpha1.ConditionReady); c != nil && standing[c.Reason] {
		a.frozen = c.Reason
	}
	return a
}

// recordedBefore is what a run before this one has told of: where the newest
// commit stood.
func (s *source) recordedBefore(view txn.View) recorded {
	out := s.current()
	if o, ok := view.Get(txn.Ref{Resource: releases, Name: v1alpha1.ReleaseName(s.name, s.status.ObservedCommit)}); ok {
		out.release, out.phase = o.GetName(), o.(*v1alpha1.Release).Status.Phase
	}
	return out
}

// recordEvents tells of what the API has been told since the last time.
func (s *source) recordEvents() {
	m, now := s.engine.cfg.Metrics, s.current()
	m.is(s.name, len(s.inventory.Entries), s.status.Health == v1alpha1.HealthHealthy, s.suspended(), s.status.Awaits != nil)
	before := s.recorded
	s.recorded = now
	if now.frozen != before.frozen && now.frozen != "" {
		s.engine.cfg.Events(s.object, corev1.EventTypeNormal, now.frozen, meta.FindStatusCondition(s.status.Conditions, v1alpha1.ConditionReady).Message)
	}
	if now.release == before.release && now.phase == before.phase || now.phase == "" || now.phase == v1alpha1.ReleasePlanned {
		return
	}
	r := s.release
	kind := corev1.EventTypeNormal
	switch now.phase {
	case v1alpha1.ReleaseFailed, v1alpha1.ReleaseRefused, v1alpha1.ReleaseQuarantined, v1alpha1.ReleaseRolledBack:
		kind = corev1.EventTypeWarning
	}
	subject, _, _ := strings.Cut(r.Spec.Message, "\n")
	message := fmt.Sprintf("%.12s (%s)", r.Spec.Commit, subject)
	if r.Status.Message != "" {
		message += ": " + r.Status.Message
	}
	s.engine.cfg.Events(s.object, kind, string(now.phase), message)
	m.reached(s.name, r)
}

// recordDrift tells of a foreign write.
func (s *source) recordDrift(r *drift.Record) {
	what := "changed"
	if r.Deleted {
		what = "deleted"
	}
	s.log.Info("drift", "object", r.Object, "user", r.User, "deleted", r.Deleted)
	s.engine.cfg.Metrics.drifted(s.name)
	s.engine.cfg.Events(s.object, corev1.EventTypeWarning, "Drift", fmt.Sprintf("%s was %s by %s", r.Object, what, r.User))
}
