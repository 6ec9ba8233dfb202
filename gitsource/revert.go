package gitsource

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/repo"
)

// revertPrefix is where commits are proposed that take a failed one back.
const revertPrefix = "refs/heads/headway-revert/"

// revert is a rollback to be written down in git.
type revert struct {
	cluster, source, reason string
	bad, good               repo.ID
	ref                     string // to be moved
	onto                    repo.ID
	paths                   []string
	follower                *follower
}

// reverted is what has become of it.
type reverted struct {
	bad    repo.ID
	commit repo.ID
	ref    string
	err    error
}

// reverting is where a source stands with its revert.
type reverting struct {
	under bool          // one is being written
	pause time.Duration // before the next try, after a failed one
	at    time.Time     // of the next try; zero for at once
}

// revert has a rollback written down where that is asked for and not done yet.
func (s *source) revert() {
	r := s.release
	mode := s.object.Spec.Health.Revert
	if s.object.Spec.Pin != nil { // the branch is not to blame for it
		return
	}
	if s.reverting.under || s.now().Before(s.reverting.at) || mode == v1alpha1.RevertNone || !s.rolledBack() || r.Status.Phase != v1alpha1.ReleaseRolledBack || r.Status.RevertCommit != "" {
		return
	}
	bad, err := repo.ParseID(r.Spec.Commit)
	good, goodErr := repo.ParseID(r.Status.RolledBackTo)
	if err = errors.Join(err, goodErr); err != nil {
		s.log.Warn("no revert is written", "error", err)
		return
	}
	job := revert{
		cluster: s.engine.cfg.ClusterName, source: s.name, reason: r.Status.Message, bad: bad, good: good, onto: bad,
		ref: fmt.Sprintf("%s%s-%.12s", revertPrefix, s.name, bad), paths: s.object.Spec.Paths, follower: s.follower,
	}
	// A working tree must not be left behind by its own branch.
	if gitDir, _ := s.follower.repo.Dirs(); mode == v1alpha1.RevertCommit && strings.HasPrefix(s.status.ObservedRef, "refs/heads/") &&
		(s.follower.push != nil || path.Base(gitDir) != ".git") {
		job.ref = s.status.ObservedRef
	}
	select {
	case s.reporter.reverts <- job:
		s.reverting.under = true
	default: // the one before is still under way
	}
}

// takeRevert notes what has become of a revert. A failed one is tried again,
// each time after a longer pause.
func (s *source) takeRevert(done *reverted) {
	if done == nil {
		return
	}
	s.reverting.under = false
	if done.err != nil {
		s.reverting.pause = min(max(2*s.reverting.pause, firstRetry), lastRetry)
		s.reverting.at = s.now().Add(s.reverting.pause)
		s.log.Warn("revert not written", "commit", done.bad, "ref", done.ref, "error", done.err, "again in", s.reverting.pause)
		return
	}
	s.reverting = reverting{}
	if s.release != nil && s.release.Spec.Commit == done.bad.String() {
		s.release.Status.RevertCommit, s.release.Status.RevertRef = done.commit.String(), done.ref
	}
}

// write writes the commit and moves its reference, on the remote where there
// is one. The same revert gives the same commit but for its time.
func (j revert) write(ctx context.Context, now time.Time) *reverted {
	out := &reverted{bad: j.bad, ref: j.ref}
	out.commit, out.err = j.follower.repo.Restore(repo.NewCommit{
		Parent: j.onto, Name: "headway " + j.cluster, Email: "headway@" + j.cluster, Time: now,
		Message: fmt.Sprintf("Revert %.12s in %s\n\nIt did not become healthy on cluster %s, which has gone back to %s.\n\n%s",
			j.bad, j.source, j.cluster, j.good, j.reason),
	}, j.good, j.paths)
	switch {
	case out.err != nil:
	case j.follower.pushCommit != nil:
		out.err = j.follower.pushCommit(ctx, j.follower.repo, j.ref, out.commit)
	default:
		var old repo.ID
		if strings.HasPrefix(j.ref, revertPrefix) {
			old, out.err = j.follower.repo.Tip(j.ref)
		} else {
			old = j.bad // a newer commit has its own word
		}
		if out.err == nil {
			out.err = j.follower.repo.Update(j.ref, old, out.commit)
		}
	}
	return out
}
