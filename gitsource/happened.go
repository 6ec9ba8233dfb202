package gitsource

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/drift"
	"github.com/headway-sh/headway/gitsource/notify"
)

// happening is something that a source has to tell.
type happening struct {
	event v1alpha1.NotificationEvent
	key   string // what makes it one and the same
	// reason is why a commit waits.
	reason, commit, text string
	problems             []v1alpha1.Problem
	// about gives the objects that it is about; nil: all, or they are not known.
	about func() []notify.Object
}

// waitReasons say in a word what a commit waits for, by the reason of the
// condition.
var waitReasons = map[string]string{
	string(v1alpha1.NotifyWaiting): "Dependency", reasonCycle: "Dependency", reasonApproval: "Approval", reasonPromotion: "Promotion",
	string(v1alpha1.NotifyFrozen): "Window",
}

// happened is what there is to tell now but drift, in the order in which it
// happens to commits.
func (s *source) happened() []happening {
	var out []happening
	ready := meta.FindStatusCondition(s.status.Conditions, v1alpha1.ConditionReady)
	held := ready != nil && ready.Reason == string(v1alpha1.NotifyHeld)
	if r := s.release; r != nil {
		st := &r.Status
		switch st.Phase {
		case v1alpha1.ReleaseHealthy, v1alpha1.ReleaseFailed, v1alpha1.ReleaseRolledBack, v1alpha1.ReleaseRefused:
			if !held || st.Phase != v1alpha1.ReleaseRefused {
				out = append(out, happening{event: v1alpha1.NotificationEvent(st.Phase), key: r.Spec.Commit, commit: r.Spec.Commit, text: st.Message,
					problems: st.Problems, about: func() []notify.Object { return s.touched(st.Outcomes, st.Problems) }})
			}
		}
	}
	if ready != nil {
		h := happening{event: v1alpha1.NotificationEvent(ready.Reason), key: s.status.ObservedCommit, commit: s.status.ObservedCommit, text: ready.Message,
			reason: waitReasons[ready.Reason], about: func() []notify.Object { return nil }}
		switch {
		case h.event == v1alpha1.NotifySuspended:
			h.key, h.commit = ready.Message, ""
			out = append(out, h)
		case held:
			h.problems, h.about = s.problems, func() []notify.Object { return s.touched(nil, s.problems) }
			out = append(out, h)
		case h.reason == "":
		default:
			if h.event != v1alpha1.NotifyFrozen {
				h.event = v1alpha1.NotifyWaiting
			}
			if a := s.status.Awaits; a != nil {
				h.key += " " + a.Digest
			}
			out = append(out, h)
		}
	}
	for _, p := range s.fights {
		if isContended(p) {
			fight := []v1alpha1.Problem{p}
			sum := sha256.Sum256([]byte(p.String()))
			out = append(out, happening{event: v1alpha1.NotifyContended, key: fmt.Sprintf("%s %x", s.status.AppliedCommit, sum[:6]), commit: s.status.AppliedCommit,
				text: p.String(), problems: fight, about: func() []notify.Object { return s.touched(nil, fight) }})
		}
	}
	return out
}

// driftFor is the newest drift that somebody wants to hear of.
func (s *source) driftFor(to *v1alpha1.Notification) []happening {
	if !to.Tells(v1alpha1.NotifyDrift) {
		return nil
	}
	for _, r := range slices.Backward(s.records) {
		h := s.driftOf(&r)
		if _, concerns := (notify.Message{}).Narrow(h.about(), to.Objects); concerns {
			return []happening{h}
		}
	}
	return nil
}

func (s *source) driftOf(r *drift.Record) happening {
	what := "changed"
	if r.Deleted {
		what = "deleted"
	}
	return happening{event: v1alpha1.NotifyDrift, key: r.Time.UTC().Format(time.RFC3339Nano) + " " + r.Object, commit: s.status.AppliedCommit,
		text: r.Who() + " has " + what + " " + r.Object, about: func() []notify.Object {
			ref, _ := notify.ParseObject(r.Object)
			return []notify.Object{notify.ObjectOf(ref, r.Kind)}
		}}
}

// touched are the objects that outcomes and problems name; nil when some of them
// are not known.
func (s *source) touched(outcomes []v1alpha1.ObjectOutcome, problems []v1alpha1.Problem) []notify.Object {
	if len(outcomes) == maxOutcomes || len(problems) == maxProblems {
		return nil
	}
	seen := map[txn.Ref]bool{}
	out := []notify.Object{}
	add := func(object string) bool {
		ref, ok := notify.ParseObject(object)
		if ok && !seen[ref] {
			seen[ref] = true
			out = append(out, notify.ObjectOf(ref, s.inventory.Entries[ref].Kind))
		}
		return ok
	}
	for _, o := range outcomes {
		add(o.Object)
	}
	for _, p := range problems {
		if !add(p.Object) && len(outcomes) == 0 {
			return nil
		}
	}
	return out
}

// message is what is told of a happening.
func (s *source) message(h *happening) notify.Message {
	m := notify.Message{Cluster: s.engine.cfg.ClusterName, Source: s.name, Event: h.event, Severity: h.event.Severity(), Reason: h.reason, Time: s.now().UTC(),
		Ref: s.status.ObservedRef, Commit: h.commit, Text: h.text, Problems: h.problems}
	if r := s.release; r != nil && r.Spec.Commit == h.commit {
		m.Author = r.Spec.Author
		m.Subject, _, _ = strings.Cut(r.Spec.Message, "\n")
	}
	return m
}
