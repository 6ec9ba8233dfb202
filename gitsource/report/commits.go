package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/repo"
)

const (
	// keptCommits is how many commits of a source have pages.
	keptCommits = 200
	// shownCommits is how many of them the list on STATUS.md names.
	shownCommits = 10
)

// Commits are the commits that were tried, with what became of them.
type Commits struct {
	bySource map[string][]*v1alpha1.Release // the newest first
	byCommit map[string][]*v1alpha1.Release // by the sources' names
}

// commitPage is the schema of commits/<commit>.json.
type commitPage struct {
	Commit   string          `json:"commit"`
	Releases []commitRelease `json:"releases"` // one for each source that tried it
}

// commitRelease is a Release without what belongs to the cluster alone.
type commitRelease struct {
	Name   string                 `json:"name"`
	Spec   v1alpha1.ReleaseSpec   `json:"spec"`
	Status v1alpha1.ReleaseStatus `json:"status"`
}

// newCommits takes those releases whose source is reported.
func newCommits(all []*v1alpha1.Release, ours func(source string) bool) *Commits {
	c := &Commits{bySource: map[string][]*v1alpha1.Release{}, byCommit: map[string][]*v1alpha1.Release{}}
	for _, r := range all {
		if ours(r.Spec.Source) && r.Status.Phase != "" {
			c.bySource[r.Spec.Source] = append(c.bySource[r.Spec.Source], r)
		}
	}
	for source, releases := range c.bySource {
		slices.SortFunc(releases, func(a, b *v1alpha1.Release) int {
			return cmp.Or(seen(b).Compare(seen(a).Time), cmp.Compare(b.CreationTimestamp.Unix(), a.CreationTimestamp.Unix()), cmp.Compare(a.Name, b.Name))
		})
		releases = releases[:min(len(releases), keptCommits)]
		c.bySource[source] = releases
		for _, r := range releases {
			c.byCommit[r.Spec.Commit] = append(c.byCommit[r.Spec.Commit], r)
		}
	}
	for _, releases := range c.byCommit {
		slices.SortFunc(releases, func(a, b *v1alpha1.Release) int { return cmp.Compare(a.Spec.Source, b.Spec.Source) })
	}
	return c
}

func seen(r *v1alpha1.Release) *metav1.Time {
	if r.Status.ObservedTime == nil {
		return &metav1.Time{}
	}
	return r.Status.ObservedTime
}

// line names a commit and links to its page, if it has one.
func (c *Commits) line(of *Commit) string {
	if len(c.byCommit[of.ID]) == 0 {
		return of.line()
	}
	return commitLink(of.ID) + " " + text(of.Subject) + " (" + text(of.Author) + ")"
}

func commitLink(id string) string {
	return "[" + code(id[:min(len(id), 12)]) + "](commits/" + id + ".md)"
}

// list names the newest commits of a source, but for the very newest, which the
// table above has.
func (c *Commits) list(w *strings.Builder, source string) {
	releases := c.bySource[source]
	if len(releases) < 2 {
		return
	}
	w.WriteString("\n### Commits\n\n")
	for _, r := range releases[:min(len(releases), shownCommits)] {
		subject, _, _ := strings.Cut(r.Spec.Message, "\n")
		fmt.Fprintf(w, "- %s %s: %s\n", commitLink(r.Spec.Commit), r.Status.Phase, text(subject))
	}
}

// commitBlobs are the pages that are in the repository already, by commit.
type commitBlobs map[string]commitBlob

type commitBlob struct {
	version  string // of the releases that the pages were made of
	md, json repo.ID
}

// write writes the pages of all commits but those that are known to be there.
// It gives the blobs by file name, and what is known from now on.
func (c *Commits) write(r *repo.Repository, known commitBlobs) (map[string]repo.ID, commitBlobs, error) {
	files, now := map[string]repo.ID{}, commitBlobs{}
	for id, releases := range c.byCommit {
		version := ""
		for _, r := range releases {
			version += r.Name + "@" + r.ResourceVersion + " "
		}
		blob := known[id]
		if blob.version != version {
			md, encoded, err := commitFiles(id, releases)
			if err != nil {
				return nil, nil, err
			}
			if blob.md, err = r.WriteBlob(md); err != nil {
				return nil, nil, err
			}
			if blob.json, err = r.WriteBlob(encoded); err != nil {
				return nil, nil, err
			}
			blob.version = version
		}
		files["commits/"+id+".md"], files["commits/"+id+".json"] = blob.md, blob.json
		now[id] = blob
	}
	return files, now, nil
}

// commitFiles gives a commit's pages for people and for programs.
func commitFiles(id string, releases []*v1alpha1.Release) (page, encoded []byte, err error) {
	first := releases[0]
	w := &strings.Builder{}
	fmt.Fprintf(w, "# Commit %s\n\n", code(id))
	lines(w, strings.Split(first.Spec.Message, "\n"))
	w.WriteString("\n| | |\n|---|---|\n")
	row(w, "author", text(first.Spec.Author))
	if first.Spec.Committer != first.Spec.Author {
		row(w, "committer", text(first.Spec.Committer))
	}
	row(w, "committed at", moment(first.Spec.CommitTime))
	out := commitPage{Commit: id}
	for _, r := range releases {
		releasePart(w, r)
		out.Releases = append(out.Releases, commitRelease{r.Name, r.Spec, r.Status})
	}
	encoded, err = json.MarshalIndent(out, "", "  ")
	if err != nil {
		return nil, nil, fmt.Errorf("write commit %s: %w", id, err)
	}
	return []byte(w.String()), append(encoded, '\n'), nil
}

// releasePart is what one source made of the commit.
func releasePart(w *strings.Builder, r *v1alpha1.Release) {
	st := &r.Status
	fmt.Fprintf(w, "\n## %s: %s\n\n", text(r.Spec.Source), st.Phase)
	if st.Message != "" {
		fmt.Fprintf(w, "%s\n\n", text(st.Message))
	}
	w.WriteString("| | |\n|---|---|\n")
	row(w, "on", code(r.Spec.Ref))
	if r.Spec.Parent != "" {
		row(w, "after", code(r.Spec.Parent[:min(12, len(r.Spec.Parent))]))
	}
	row(w, "pushed by", text(st.PushedBy))
	row(w, "seen at", moment(st.ObservedTime))
	row(w, "begun at", moment(st.StartedTime))
	row(w, "written at", moment(st.AppliedTime))
	row(w, "finished at", moment(st.FinishedTime))
	if st.StartedTime != nil || st.AppliedTime != nil {
		row(w, "changed", st.Summary.String())
	}
	approvals := st.Approvals
	if len(approvals) == 0 && st.Approval != nil {
		approvals = append(approvals, *st.Approval)
	}
	for _, a := range approvals {
		row(w, "approved by", text(strings.TrimSuffix(a.By+": "+a.Reason, ": "))+" at "+moment(a.Time))
	}
	if st.RolledBackTo != "" {
		row(w, "rolled back to", code(st.RolledBackTo[:min(12, len(st.RolledBackTo))]))
	}
	if st.RevertCommit != "" {
		row(w, "reverted by", code(st.RevertCommit[:min(12, len(st.RevertCommit))])+" on "+code(st.RevertRef))
	}
	if st.PlanDigest != "" {
		fmt.Fprintf(w, "\nDigest %s.\n", code(st.PlanDigest))
	}
	problems(w, st.Problems)
	if len(st.Outcomes) > 0 {
		w.WriteString("\n### Objects\n\n| | object | written in | |\n|---|---|---|---|\n")
	}
	for _, o := range st.Outcomes {
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", text(o.Operation), code(o.Object), code(o.Origin), text(o.Error))
	}
	hookRuns(w, st.Hooks)
	evidence(w, st.Evidence)
}

func hookRuns(w *strings.Builder, runs []v1alpha1.HookRun) {
	if len(runs) > 0 {
		w.WriteString("\n### Hooks\n\n| stage | object | | written in | begun at | finished at | |\n|---|---|---|---|---|---|---|\n")
	}
	for _, h := range runs {
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s |\n",
			h.Stage, code(h.Object), h.Phase, code(h.Origin), moment(h.StartedTime), moment(h.FinishedTime), text(h.Message))
	}
	for _, h := range runs {
		if len(h.Lines) > 0 {
			fmt.Fprintf(w, "\n### Last lines of %s\n\n", text(h.Object))
			lines(w, h.Lines)
		}
	}
}

func row(w *strings.Builder, name, value string) {
	if value != "" {
		fmt.Fprintf(w, "| %s | %s |\n", name, value)
	}
}

func moment(t *metav1.Time) string {
	if t == nil {
		return ""
	}
	return stamp(t.Time)
}
