package gitsource

import (
	"context"
	"errors"
	"fmt"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/apply"
	"github.com/headway-sh/headway/internal/failpoint"
)

// maxProblems is how many problems a status carries.
const maxProblems = 20

// TrailerAllowDelete is the trailer by which a commit consents to deletions.
const TrailerAllowDelete = "Allow-Delete"

// sync brings the cluster to the newest commit. all compares every object with
// git; again tries once more what was refused.
func (s *source) sync(ctx context.Context, all, again bool) error {
	observed, ok := s.fetch(ctx)
	if !ok && s.object.Spec.Pin == nil {
		return nil
	}
	if err := failpoint.Hit(ctx, "gitsource.fetch.after"); err != nil {
		return err
	}
	aim, err := s.aim(ctx, observed)
	if err != nil {
		return err
	}
	id := aim.id
	current := s.inventory.Head.Complete && s.inventory.Head.Commit == id.String()
	this := trial{commit: id, generation: s.object.Generation, consent: s.object.Annotations[v1alpha1.AnnotationAllowRewrite]}
	switch {
	case s.suspended():
		s.slept = true
		s.condition(v1alpha1.ConditionReady, false, "Suspended", suspension(s.object.Spec.Suspend))
		return nil
	case s.tried.same(this) && !all && !(again && s.tried.again):
		return nil // applied, or refused for what has not changed
	}
	s.status.Awaits = nil // or it is found out anew
	kept := s.kept(aim)
	commit, err := s.commit(id, kept)
	if err != nil && aim.pinned {
		s.tried = this
		s.unknownPin(err)
		return nil
	}
	if err != nil {
		return err
	}
	if !current && !aim.pinned && !aim.back() { // who pins says where to go
		ok, err := s.descends(ctx, id)
		if err != nil {
			return err
		}
		if !ok {
			s.tried = this
			s.hold(id)
			return nil
		}
	}
	if aim.quarantined != nil {
		s.takeUp(aim.quarantined)
	} else if err := s.begin(ctx, commit, current); err != nil {
		return err
	} else if refusal, err := s.verified(ctx, aim, current); err != nil {
		return err
	} else if refusal != nil && !current {
		s.unverified(this, refusal)
		return nil
	}
	switch frozen, err := s.frozenNow(ctx, commit, aim); {
	case apply.AsRefused(err) != nil:
		s.tried = this
		s.refuse(apply.AsRefused(err), false)
		return nil
	case err != nil || frozen:
		return err
	case current && all && s.leavesDrift(""):
		return nil // compared when the window opens
	}
	if waits, err := s.waits(ctx, id, aim); err != nil || waits {
		return err
	}
	set, problems := kept, []v1alpha1.Problem(nil)
	if set == nil {
		if set, s.status.LeftOut, problems, err = s.rendered(ctx, s.follower.renderer, id); err != nil {
			return fmt.Errorf("render %s: %w", id, err)
		}
		if err := s.watchLookups(ctx); err != nil {
			return err
		}
	}
	if err := failpoint.Hit(ctx, "gitsource.render.after"); err != nil {
		return err
	}
	if len(problems) > 0 {
		err = &apply.Refused{Problems: problems, Again: s.follower.renderer.Keyless()}
	} else {
		s.owed = s.owed || all && !current && s.inventory.Head.Commit == id.String()
		if err = s.apply(ctx, commit, set, aim, all, current); err == nil {
			s.unkept = set
		}
		if err == nil && s.owed {
			s.owed = false
			s.tell(func(p *pending) { p.all = true })
		}
	}
	var lacking *unapproved
	var running *hookWait
	var failed *hookFailure
	switch w := apply.AsWaiting(err); {
	case w != nil:
		s.wait(w)
		return nil
	case errors.As(err, &running):
		return nil
	case errors.As(err, &lacking):
		s.awaitApproval(lacking)
		return nil
	case errors.As(err, &failed):
		s.tried = this
		s.failedBefore(ctx, failed)
		return nil
	}
	refused := apply.AsRefused(err)
	if err != nil && refused == nil {
		return err
	}
	s.tried = this
	if refused != nil {
		s.tried.again = refused.Again
		s.refuse(refused, current || aim.quarantined != nil)
		if refused.Again {
			s.failed(refused)
		}
	}
	return nil
}

func suspension(p *v1alpha1.Suspension) string {
	out := "suspended"
	if p.By != "" {
		out += " by " + p.By
	}
	if p.Until != nil {
		out += " until " + p.Until.UTC().Format("2006-01-02 15:04 UTC")
	}
	if p.Reason != "" {
		out += ": " + p.Reason
	}
	return out
}
