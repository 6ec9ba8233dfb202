package gitsource

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/forge"
	"github.com/headway-sh/headway/gitsource/repo"
	"github.com/headway-sh/headway/gitsource/report"
)

const (
	// forgePrefix is where the notes are of what forges have been told.
	forgePrefix = "forge/"
	// forgeCommits is how many of the newest commits are looked at.
	forgeCommits = 20
	firstCall    = 5 * time.Second
	lastCall     = 10 * time.Minute
)

// forging tells a source's forge how commits fare and what pull requests would
// change, beside the source's goroutine. What is to be said is worked out from
// the Releases and the plans; what was said rests in a note, so that nothing
// is said twice, and nothing left out because the forge was away.
type forging struct {
	source *source
	wake   chan struct{}

	mu   sync.Mutex // guards next
	next forgeWish

	// What follows belongs to the goroutine of run.
	said    said
	open    map[string]bool   // commits that were the newest while this ran
	refused map[string]string // what the forge does not take, by key
	refusal error             // the newest of them
	pause   time.Duration
}

// forgeWish is what a source wants its forge to know.
type forgeWish struct {
	spec    *v1alpha1.GitSourceSpec
	newest  string // the newest commit that was tried
	release string // tells when its Release has changed
	plans   []report.Plan
	branch  string // with the report on the same forge, or empty
}

// said is what a forge was told.
type said struct {
	Target   string                  `json:"target"`
	Statuses map[string]forge.Status `json:"statuses,omitempty"` // by commit
	Comments map[int]saidComment     `json:"comments,omitempty"` // by pull request
}

type saidComment struct {
	ID  int64  `json:"id"`
	Sum string `json:"sum"` // of its body
}

func newForging(s *source) *forging {
	return &forging{source: s, wake: make(chan struct{}, 1), open: map[string]bool{}, refused: map[string]string{}}
}

// note hands over what the source knows. It does not block.
func (f *forging) note(s *source) {
	if s.object == nil {
		return
	}
	wish := forgeWish{spec: &s.object.Spec}
	if spec := s.object.Spec; spec.Forge != nil {
		if r := s.release; r != nil {
			wish.newest, wish.release = r.Spec.Commit, fmt.Sprint(r.Name, r.Status.Phase, r.Status.Message, r.Status.RolledBackTo)
		}
		if spec.Forge.Comments {
			wish.plans = s.planReports()
		}
		if s.follower != nil && s.follower.push != nil && !spec.Reports.Disabled && s.reportsAt() == spec.URL {
			wish.branch = s.reportBranch()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if wish.spec.Forge == nil && f.next.spec == nil || reflect.DeepEqual(wish, f.next) {
		return
	}
	f.next = wish
	poke(f.wake)
}

// run tells until the context ends.
func (f *forging) run(ctx context.Context) {
	if err := f.load(ctx); err != nil && ctx.Err() == nil {
		f.source.log.Warn("what the forge was told is not known", "error", err)
	}
	clock := f.source.engine.cfg.Clock
	var later <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		case <-later:
			clear(f.refused) // rights may have been given
		}
		later = nil
		f.mu.Lock()
		wish := f.next
		f.mu.Unlock()
		if wish.spec == nil || wish.spec.Forge == nil {
			continue
		}
		err := f.tell(ctx, &wish)
		wait := f.wait(err)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			f.source.log.Warn("the forge is not told", "error", err, "in", wait)
		case len(f.refused) > 0:
			err, wait = f.refusal, lastCall
		}
		told := &forged{err: err, next: clock.Now().Add(wait)}
		if f.source.tell(func(p *pending) { p.forged = told }); err != nil {
			later = clock.After(wait)
		}
	}
}

// wait is the pause after an error, and the forge's own word for it if it has
// given one.
func (f *forging) wait(err error) time.Duration {
	if err == nil {
		f.pause = 0
		return 0
	}
	f.pause = min(max(2*f.pause, firstCall), lastCall)
	var refused *forge.Error
	if errors.As(err, &refused) && refused.After > 0 {
		return refused.After
	}
	return f.pause
}

func (f *forging) load(ctx context.Context) error {
	notes, err := f.source.engine.cfg.Txn.Notes(ctx, forgePrefix+f.source.name)
	if err != nil {
		return fmt.Errorf("read notes: %w", err)
	}
	for _, n := range notes {
		if n.Key == forgePrefix+f.source.name {
			return json.Unmarshal(n.Value, &f.said)
		}
	}
	return nil
}

func (f *forging) save(ctx context.Context) error {
	value, err := json.Marshal(f.said)
	if err != nil {
		return err
	}
	e := f.source.engine
	options := txn.CommitOptions{Epoch: e.applier.Epoch, Notes: []txn.Note{{Key: forgePrefix + f.source.name, Value: value}}}
	_, _, err = txn.Run(ctx, e.cfg.Txn, e.cfg.Identity, options, func(txn.View) ([]txn.Change, error) { return nil, nil })
	if err != nil {
		return fmt.Errorf("note what the forge was told: %w", err)
	}
	return nil
}

// tell says everything that was not said yet. It stops at the first error that
// may pass; what the forge refuses for good is left out.
func (f *forging) tell(ctx context.Context, wish *forgeWish) error {
	view, err := f.source.engine.cfg.Txn.View(ctx)
	if err != nil {
		return fmt.Errorf("view: %w", err)
	}
	target := forge.Locate(wish.spec)
	at := wish.spec.Forge.SecretRef
	o, _ := view.Get(txn.Ref{Resource: secrets, Namespace: at.Namespace, Name: at.Name})
	secret, ok := o.(*corev1.Secret)
	if !ok {
		return fmt.Errorf("the Secret %s/%s with the forge's token does not exist", at.Namespace, at.Name)
	}
	target.Token, target.Proxy = strings.TrimSpace(string(secret.Data["token"])), forgeProxy(view, wish.spec, secret)
	host := strings.TrimPrefix(target.URL, "https://")
	target.Called = func(status int, took time.Duration) { f.source.engine.cfg.Metrics.forgeCalled(host, status, took) }
	client, err := forge.New(target)
	if err != nil {
		return err
	}
	if name := target.URL + " " + target.Repository; f.said.Target != name {
		f.said = said{Target: name}
	}
	if f.said.Statuses == nil {
		f.said.Statuses = map[string]forge.Status{}
	}
	if f.said.Comments == nil {
		f.said.Comments = map[int]saidComment{}
	}
	if wish.spec.Forge.Statuses {
		if err := f.tellStatuses(ctx, client, f.statuses(view, wish, target)); err != nil {
			return err
		}
	}
	if wish.spec.Forge.Comments {
		return f.tellComments(ctx, client, wish)
	}
	return nil
}

// statuses are those of the newest commits, the oldest first: of the newest of
// all, and of others that the forge has heard of or should have.
func (f *forging) statuses(view txn.View, wish *forgeWish, target forge.Target) []forge.Status {
	var own []*v1alpha1.Release
	for o := range view.Each(releases, "") {
		if r := o.(*v1alpha1.Release); r.Spec.Source == f.source.name && r.Status.ObservedTime != nil {
			own = append(own, r)
		}
	}
	slices.SortFunc(own, func(a, b *v1alpha1.Release) int {
		return cmp.Or(a.Status.ObservedTime.Compare(b.Status.ObservedTime.Time), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	own = own[max(0, len(own)-forgeCommits):]
	newest := map[string]bool{}
	var out []forge.Status
	for _, r := range own {
		newest[r.Spec.Commit] = true
		_, heard := f.said.Statuses[r.Spec.Commit]
		if r.Spec.Commit == wish.newest || unfinished(r) {
			f.open[r.Spec.Commit] = true
		}
		if !heard && !f.open[r.Spec.Commit] {
			continue
		}
		status := statusOf(r)
		status.Commit, status.Context = r.Spec.Commit, "headway/"+f.source.engine.cfg.ClusterName+"/"+f.source.name
		if wish.branch != "" {
			status.TargetURL = forge.PageURL(target, wish.branch, "commits/"+r.Spec.Commit+".md")
		}
		out = append(out, status)
	}
	old := func(id string) bool { return !newest[id] }
	maps.DeleteFunc(f.said.Statuses, func(id string, _ forge.Status) bool { return old(id) })
	maps.DeleteFunc(f.open, func(id string, _ bool) bool { return old(id) })
	return out
}

// statusOf is a release as a forge shows it. A commit that is being taken back
// has the same words as one that was: nobody needs to hear of it twice.
func statusOf(r *v1alpha1.Release) forge.Status {
	st := &r.Status
	first := st.Message
	if len(st.Problems) > 0 {
		first = st.Problems[0].String()
	}
	out := forge.Status{State: forge.Pending}
	switch st.Phase {
	case v1alpha1.ReleaseHealthy:
		out.State, out.Description = forge.Success, st.Summary.String()
	case v1alpha1.ReleaseFailed, v1alpha1.ReleaseRefused:
		out.State, out.Description = forge.Failure, string(st.Phase)+": "+first
	case v1alpha1.ReleaseQuarantined, v1alpha1.ReleaseRolledBack:
		out.State, out.Description = forge.Failure, "Rolled back: "+first
	case v1alpha1.ReleaseSuperseded:
		out.State, out.Description = forge.Gone, st.Message
	default:
		out.Description = string(st.Phase)
	}
	out.Description = oneLine(out.Description)
	return out
}

func (f *forging) tellStatuses(ctx context.Context, client *forge.Client, all []forge.Status) error {
	for _, status := range all {
		kept := status
		kept.Commit, kept.Context = "", ""
		if f.said.Statuses[status.Commit] == kept {
			continue
		}
		told, err := f.attempt("status "+status.Commit, fmt.Sprint(kept), func() error { return client.SetStatus(ctx, status) })
		if err != nil {
			return err
		}
		if !told {
			continue
		}
		f.said.Statuses[status.Commit] = kept
		if err := f.save(ctx); err != nil {
			return err
		}
	}
	return nil
}

// attempt makes a call, unless the forge has refused the same for good. An
// error is one that may pass.
func (f *forging) attempt(key, what string, call func() error) (bool, error) {
	if f.refused[key] == what {
		return false, nil
	}
	err := call()
	var refused *forge.Error
	if errors.As(err, &refused) && refused.Lasting() {
		f.refused[key], f.refusal = what, err
		f.source.log.Warn("the forge refuses", "what", key, "error", err)
		return false, nil
	}
	return err == nil, err
}

func (f *forging) tellComments(ctx context.Context, client *forge.Client, wish *forgeWish) error {
	open := map[int]bool{}
	for i := range wish.plans {
		p := &wish.plans[i]
		number := pullRequest(p.Ref)
		if number == 0 {
			continue
		}
		open[number] = true
		marker := f.marker(number)
		body := marker + "\n" + report.Comment(p, f.source.engine.cfg.ClusterName, f.source.name, forge.MaxComment-len(marker))
		sum := sha256.Sum256([]byte(body))
		kept := saidComment{Sum: hex.EncodeToString(sum[:8])}
		was := f.said.Comments[number]
		if was.Sum == kept.Sum {
			continue
		}
		told, err := f.attempt("comment of "+p.Ref, kept.Sum, func() (err error) {
			kept.ID, err = client.Comment(ctx, number, was.ID, marker, body)
			return err
		})
		if err != nil {
			return err
		}
		if !told {
			continue
		}
		f.said.Comments[number] = kept
		if err := f.save(ctx); err != nil {
			return err
		}
	}
	maps.DeleteFunc(f.said.Comments, func(number int, _ saidComment) bool { return !open[number] })
	return nil
}

// marker begins the comment of a pull request and cannot be seen. Nobody else
// can make the one of a pull request that has no comment yet.
func (f *forging) marker(number int) string {
	cfg := &f.source.engine.cfg
	name := fmt.Sprintf("%s/%s#%d", cfg.ClusterUID, f.source.name, number)
	mac := hmac.New(sha256.New, cfg.Key)
	mac.Write([]byte("forge comment " + name))
	return fmt.Sprintf("<!-- headway %s %s -->", name, hex.EncodeToString(mac.Sum(nil)[:8]))
}

// pullRequest is the number of the pull request whose head a reference is, or
// 0.
func pullRequest(ref string) int {
	for _, prefix := range []string{"refs/pull/", "refs/merge-requests/"} {
		rest, ok := strings.CutPrefix(ref, prefix)
		number, part, parted := strings.Cut(rest, "/")
		if n, err := strconv.Atoi(number); ok && parted && err == nil && n > 0 && part == "head" {
			return n
		}
	}
	return 0
}

// reportBranch is the name of the source's report branch.
func (s *source) reportBranch() string {
	return cmp.Or(s.object.Spec.Reports.Branch, strings.TrimPrefix(repo.ReportPrefix, "refs/heads/")+s.engine.cfg.ClusterName)
}
