package gitsource

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/apply"
	"github.com/headway-sh/headway/gitsource/repo"
	"github.com/headway-sh/headway/internal/pathglob"
	"github.com/headway-sh/headway/internal/window"
)

// freezing is what windows hold back.
type freezing struct {
	// thaw is when to look again; zero: nothing waits for a window.
	thaw time.Time
	// drift says that corrections wait, too.
	drift bool
	// asked tells who has asked for a commit in spite of windows.
	asked map[string]string

	// file are the windows of a commit's file, as they were read last.
	file   []bound
	fileOf repo.ID
}

// bound is a window with what it was made of.
type bound struct {
	*window.Window
	spec v1alpha1.Window
}

func bind(specs []v1alpha1.Window) ([]bound, error) {
	out := make([]bound, len(specs))
	for i, w := range specs {
		made, err := window.New(w.Kind == v1alpha1.WindowDeny, w.Schedule, w.Duration.Duration, w.TimeZone)
		if err != nil {
			return nil, fmt.Errorf("windows[%d]: %w", i, err)
		}
		out[i] = bound{made, w}
	}
	return out, nil
}

// windowsFile reads the windows in a commit's own file. What is wrong with it is
// a refusal.
func windowsFile(r *repo.Repository, id repo.ID) ([]bound, error) {
	content, err := r.FileAt(id, v1alpha1.WindowsFile)
	if err != nil || content == nil {
		return nil, err
	}
	var file struct {
		Windows []v1alpha1.Window `json:"windows"`
	}
	refuse := func(line int, err error) error {
		return &apply.Refused{Problems: []v1alpha1.Problem{{File: v1alpha1.WindowsFile, Line: int32(line), Message: err.Error()}}}
	}
	if err := sigsyaml.UnmarshalStrict(content, &file); err != nil {
		return nil, refuse(1, err)
	}
	var out []bound
	for i := range file.Windows {
		var made []bound
		errs := v1alpha1.ValidateWindows(file.Windows[i:i+1], nil)
		if err = errs.ToAggregate(); err == nil {
			made, err = bind(file.Windows[i : i+1])
		}
		if err != nil {
			return nil, refuse(lineOfWindow(content, i), err)
		}
		out = append(out, made...)
	}
	return out, nil
}

// lineOfWindow is where an entry of a windows file begins.
func lineOfWindow(content []byte, i int) int {
	var file struct {
		Windows []yaml.Node `yaml:"windows"`
	}
	if yaml.Unmarshal(content, &file) != nil || i >= len(file.Windows) {
		return 1
	}
	return file.Windows[i].Line
}

// windows are those of the spec and those of the applied commit's file: what a
// commit says about windows counts once it is applied. Before the first one,
// its own count.
func (s *source) windows(first repo.ID) ([]bound, error) {
	at := first
	if applied := s.inventory.Head.Commit; applied != "" {
		var err error
		if at, err = repo.ParseID(applied); err != nil {
			return nil, err
		}
	}
	own, err := bind(s.object.Spec.Windows)
	if err != nil {
		return nil, err // the API server refuses such
	}
	if s.follower.repo == nil || at == (repo.ID{}) {
		return own, nil
	}
	if s.frozen.fileOf != at {
		// A file that cannot be read, or a commit that the mirror has lost, says
		// nothing: it was looked at when the commit was applied.
		file, err := windowsFile(s.follower.repo, at)
		if err != nil && at == first {
			return nil, err
		}
		s.frozen.file, s.frozen.fileOf = file, at
	}
	return append(own, s.frozen.file...), nil
}

// held says what holds a commit back now; nil: nothing.
func (s *source) held(ctx context.Context, c *repo.Commit) (*v1alpha1.Freeze, error) {
	windows, err := s.windows(c.ID)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(windows, func(b bound) bool { return len(b.spec.Paths) > 0 }) {
		files, all, err := s.changes(ctx, c)
		if err != nil {
			return nil, err
		}
		windows = slices.DeleteFunc(windows, func(b bound) bool {
			return len(b.spec.Paths) > 0 && !all && !slices.ContainsFunc(files, func(f string) bool { return pathglob.Any(b.spec.Paths, f) })
		})
	}
	return freeze(windows, c.ID.String(), s.now()), nil
}

// changes are the files that a commit changes of what is applied; all says that
// nobody can tell.
func (s *source) changes(ctx context.Context, c *repo.Commit) (files []string, all bool, err error) {
	applied, err := repo.ParseID(s.inventory.Head.Commit)
	if err != nil {
		return nil, true, nil // nothing is applied
	}
	old, err := s.follower.repo.Commit(applied)
	if err != nil {
		return nil, true, nil // the mirror was lost
	}
	files, err = s.follower.repo.Differ(ctx, old, c)
	return files, false, err
}

// freeze is what windows say about a commit at a time; nil: nothing.
func freeze(windows []bound, commit string, now time.Time) *v1alpha1.Freeze {
	plain := make([]*window.Window, len(windows))
	for i, w := range windows {
		plain[i] = w.Window
	}
	state := window.At(plain, now)
	if state.Open {
		return nil
	}
	f := &v1alpha1.Freeze{Commit: commit, Message: "Frozen: no window opens within years"}
	if !state.Until.IsZero() {
		f.Until = &metav1.Time{Time: state.Until.UTC()}
		f.Message = "Frozen until " + state.Until.UTC().Format("2006-01-02 15:04 UTC")
	}
	if state.By < 0 {
		f.Message += ": outside of every window that allows commits"
		return f
	}
	by := windows[state.By].spec
	f.Message += fmt.Sprintf(": the window %q (%s, %s) denies commits", by.Schedule, by.Duration.Duration, cmp.Or(by.TimeZone, "UTC"))
	if by.Reason != "" {
		f.Message += ": " + by.Reason
	}
	return f
}

// begun tells whether something was done for a commit: a stage of it is written,
// or a hook was run. It is finished then.
func (s *source) begun(c *repo.Commit) bool {
	if s.inventory.Head.Commit == c.ID.String() {
		return true
	}
	return s.release != nil && s.release.Spec.Commit == c.ID.String() &&
		slices.ContainsFunc(s.release.Status.Hooks, func(r v1alpha1.HookRun) bool { return r.StartedTime != nil })
}

// frozenNow holds a commit back that windows hold back. What is on its way is
// finished, and a way back is not stopped.
func (s *source) frozenNow(ctx context.Context, c *repo.Commit, a aim) (bool, error) {
	s.frozen.thaw, s.frozen.drift = time.Time{}, false
	s.status.Frozen = nil
	if a.back() || s.begun(c) {
		return false, nil
	}
	if s.inventory.Head.Commit != "" {
		if _, err := windowsFile(s.follower.repo, c.ID); err != nil {
			return false, err // told now, and not when it is too late
		}
	}
	f, err := s.held(ctx, c)
	if err != nil || f == nil {
		return false, err
	}
	if s.object.Annotations[v1alpha1.AnnotationSync] == f.Commit {
		by := cmp.Or(s.frozen.asked[f.Commit], s.object.Annotations[v1alpha1.AnnotationSyncBy], "somebody")
		s.release.Status.Override = &v1alpha1.Override{By: by, Freeze: f.Message}
		return false, nil
	}
	s.status.Frozen = f
	s.release.Status.Phase, s.release.Status.Message = v1alpha1.ReleasePlanned, f.Message
	s.release.Status.Problems, s.release.Status.FinishedTime = nil, nil
	s.problems = nil
	s.condition(v1alpha1.ConditionReady, false, "Frozen", f.Message)
	s.condition(v1alpha1.ConditionStalled, false, "Frozen", "the commit is applied when a window opens")
	if f.Until != nil {
		s.frozen.thaw = f.Until.Time
	}
	return true, nil
}

// thawed tells whether what windows hold back is due. all says that drift has
// waited, too.
func (s *source) thawed(now time.Time) (due, all bool) {
	if s.frozen.thaw.IsZero() || now.Before(s.frozen.thaw) {
		return false, false
	}
	all = s.frozen.drift
	s.frozen.thaw, s.frozen.drift = time.Time{}, false
	return true, all
}

// leavesDrift tells whether windows keep drift of objects in a file from being
// put back now; an empty file asks about any. When that ends the source is woken.
func (s *source) leavesDrift(file string) bool {
	windows, err := s.windows(repo.ID{})
	if err != nil {
		return false
	}
	var denies, allows []bound
	leave := false
	for _, w := range windows {
		keep := !ptr.Deref(w.spec.Drift, true)
		switch {
		case file != "" && len(w.spec.Paths) > 0 && !pathglob.Any(w.spec.Paths, file):
		case w.spec.Kind == v1alpha1.WindowAllow:
			allows, leave = append(allows, w), leave || keep
		case keep:
			denies = append(denies, w)
		}
	}
	f := freeze(denies, "", s.now())
	if f == nil && leave {
		f = freeze(allows, "", s.now())
	}
	if f == nil {
		return false
	}
	s.frozen.drift = true
	if t := f.Until; t != nil && (s.frozen.thaw.IsZero() || t.Time.Before(s.frozen.thaw)) {
		s.frozen.thaw = t.Time
	}
	return true
}

// override notes who has asked for a commit in spite of windows.
func (e *Engine) override(w txn.Write) {
	before, _ := w.Before.(*v1alpha1.GitSource)
	after, _ := w.After.(*v1alpha1.GitSource)
	if after == nil || w.Identity.Name == "" {
		return
	}
	commit := after.Annotations[v1alpha1.AnnotationSync]
	if commit == "" || before != nil && before.Annotations[v1alpha1.AnnotationSync] == commit {
		return
	}
	e.told(w.Ref.Name, func(p *pending) { p.asked = &asked{commit, w.Identity.Name} })
}

// asked is a commit that somebody wants in spite of windows.
type asked struct{ commit, by string }

func (s *source) takeAsked(a *asked) {
	if a != nil {
		s.frozen.asked = map[string]string{a.commit: a.by}
	}
}

// wouldWait says what would hold a commit back, for plans.
func (s *source) wouldWait(ctx context.Context, c *repo.Commit) (string, []v1alpha1.Problem, error) {
	var refused *apply.Refused
	if _, err := windowsFile(s.follower.repo, c.ID); errors.As(err, &refused) {
		return "", refused.Problems, nil
	}
	f, err := s.held(ctx, c)
	if f == nil || err != nil {
		return "", nil, err
	}
	return f.Message, nil, nil
}
