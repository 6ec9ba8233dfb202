// Package report writes what the cluster sees back into git: a branch of its
// own with a page for people, the same for programs, and a page for each
// object that somebody has changed behind git's back.
//
//	STATUS.md                            readable on any forge
//	status.json                          the same; schema in State
//	drift/<kind>.<namespace>.<name>.md   who changed what, when and from where
//	commits/<commit>.md and .json        what became of a commit, object by object
//	plans/<source>/<ref>.md and .json    what a pull request would change
//
// The files are a function of the state alone: no clock is read, so that the
// same state gives the same bytes and no commit is made for nothing.
package report

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/drift"
)

// State is the cluster as one repository's report shows it; it is the schema
// of status.json.
type State struct {
	Cluster    string   `json:"cluster"`
	ClusterUID string   `json:"clusterUID"`
	Sources    []Source `json:"sources"`
}

// Source is one GitSource in a report.
type Source struct {
	Name    string   `json:"name"`
	Ref     string   `json:"ref"`
	Paths   []string `json:"paths"`
	Sync    string   `json:"sync"`   // Synced, OutOfSync, Unknown
	Health  string   `json:"health"` // Healthy, Progressing, Degraded, Unknown
	Objects int32    `json:"objects"`

	Observed *Commit `json:"observed,omitempty"`
	Applied  *Commit `json:"applied,omitempty"`
	// Promotion is how far the source follows another environment.
	Promotion *v1alpha1.PromotionStatus `json:"promotion,omitempty"`
	Phase     string                    `json:"phase,omitempty"`
	Message   string                    `json:"message,omitempty"`
	Changes   string                    `json:"changes,omitempty"`
	Since     *time.Time                `json:"appliedTime,omitempty"`
	Problems  []v1alpha1.Problem        `json:"problems,omitempty"`
	// Evidence is what is known of the objects that failed.
	Evidence []v1alpha1.Evidence `json:"evidence,omitempty"`
	Drift    []drift.Record      `json:"drift,omitempty"` // the newest last
	Plans    []Plan              `json:"-"`               // in files of their own
	// Environments are references that run in the cluster, each in a namespace.
	Environments []v1alpha1.EnvironmentStatus `json:"environments,omitempty"`
	// Tried is how the newest commit that was tried fared; its page and those of
	// the ones before are made of the releases that Publish is given.
	Tried v1alpha1.ReleaseStatus `json:"-"`
}

// Commit is a commit in a report.
type Commit struct {
	ID      string `json:"id"`
	Author  string `json:"author"`
	Subject string `json:"subject"`
}

// shownDrift is how many records a source's list shows; an object's own page
// has all that are kept.
const shownDrift = 10

// Files renders a report, but for the pages of the commits that it links to.
func Files(s State, tried *Commits) (map[string][]byte, error) {
	files := map[string][]byte{}
	page := &strings.Builder{}
	fmt.Fprintf(page, "# Cluster %s\n", text(s.Cluster))
	for _, source := range s.Sources {
		source.page(page, tried)
		for name, content := range source.driftPages() {
			files["drift/"+name] = append(files["drift/"+name], content...)
		}
		for i := range source.Plans {
			pages, err := source.Plans[i].pages(source.Name)
			if err != nil {
				return nil, err
			}
			maps.Copy(files, pages)
		}
	}
	if len(s.Sources) == 0 {
		page.WriteString("\nNo source of the cluster reports here.\n")
	}
	page.WriteString("\nThis branch is written by the cluster. Changes made here by hand are overwritten.\n")
	files["STATUS.md"] = []byte(page.String())
	for i := range s.Sources {
		d := s.Sources[i].Drift
		s.Sources[i].Drift = d[max(0, len(d)-shownDrift):]
	}
	encoded, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write report: %w", err)
	}
	files["status.json"] = append(encoded, '\n')
	return files, nil
}

// UID reads whose report a status.json is.
func UID(statusJSON []byte) string {
	var s State
	if json.Unmarshal(statusJSON, &s) != nil {
		return ""
	}
	return s.ClusterUID
}

func (s *Source) page(w *strings.Builder, tried *Commits) {
	fmt.Fprintf(w, "\n## %s: %s, %s\n\n", text(s.Name), s.Sync, s.Health)
	w.WriteString("| | |\n|---|---|\n")
	row(w, "follows", code(s.Ref)+" "+code(strings.Join(s.Paths, " ")))
	if s.Applied != nil {
		row(w, "applied", tried.line(s.Applied))
	}
	if s.Observed != nil && (s.Applied == nil || s.Observed.ID != s.Applied.ID) {
		row(w, "newest commit", tried.line(s.Observed))
	}
	if s.Promotion != nil {
		row(w, "promotion", text(s.Promotion.Message))
	}
	phase := s.Phase
	if s.Message != "" {
		phase += ": " + text(s.Message)
	}
	row(w, "phase", phase)
	row(w, "changed", s.Changes)
	if s.Since != nil {
		row(w, "applied at", stamp(*s.Since))
	}
	row(w, "objects", fmt.Sprint(s.Objects))
	problems(w, s.Problems)
	evidence(w, s.Evidence)
	tried.list(w, s.Name)
	if len(s.Plans) > 0 {
		w.WriteString("\n### Plans\n\n")
	}
	for i := range s.Plans {
		p := &s.Plans[i]
		verdict := p.Summary
		if n := len(p.Problems); n > 0 {
			verdict = fmt.Sprintf("could not be applied (%d problems)", n)
		}
		fmt.Fprintf(w, "- [%s](%s.md): %s\n", text(p.Ref), p.file(s.Name), verdict)
	}
	if len(s.Environments) > 0 {
		w.WriteString("\n### Environments\n\n")
	}
	for i := range s.Environments {
		e := &s.Environments[i]
		fmt.Fprintf(w, "- %s %s: %s\n", code(e.Ref), code(e.Commit[:min(12, len(e.Commit))]), text(e.String()))
	}
	if len(s.Drift) > 0 {
		w.WriteString("\n### Drift\n\n")
		last := s.Drift[max(0, len(s.Drift)-shownDrift):]
		for _, r := range slices.Backward(last) {
			fmt.Fprintf(w, "- %s [%s](drift/%s): %s\n", stamp(r.Time), text(r.Object), file(&r), sentence(&r))
		}
	}
}

func problems(w *strings.Builder, all []v1alpha1.Problem) {
	if len(all) > 0 {
		w.WriteString("\n### Problems\n\n")
	}
	for _, p := range all {
		w.WriteString("- ")
		if p.File != "" {
			w.WriteString(code(v1alpha1.Origin(p.File, p.Line)) + " ")
		}
		if p.Object != "" {
			w.WriteString(code(p.Object) + " ")
		}
		w.WriteString(text(p.Message) + "\n")
	}
}

func evidence(w *strings.Builder, all []v1alpha1.Evidence) {
	for _, e := range all {
		title := "Events of " + text(e.Object)
		if e.Container != "" {
			title = "Last lines of " + text(e.Object+" "+e.Container)
		}
		fmt.Fprintf(w, "\n### %s\n\n", title)
		lines(w, e.Lines)
	}
}

// lines shows foreign lines as they are, in an indented block.
func lines(w *strings.Builder, all []string) {
	for _, line := range all {
		fmt.Fprintf(w, "    %s\n", strings.ToValidUTF8(line, "?"))
	}
}

// driftPages gives a page for each object that has drifted.
func (s *Source) driftPages() map[string][]byte {
	byFile := map[string][]drift.Record{}
	for _, r := range s.Drift {
		byFile[file(&r)] = append(byFile[file(&r)], r)
	}
	pages := map[string][]byte{}
	for _, name := range slices.Sorted(maps.Keys(byFile)) {
		records := byFile[name]
		w := &strings.Builder{}
		fmt.Fprintf(w, "# %s\n\nWritten in %s of source %s.\n", text(records[0].Object), code(records[len(records)-1].Origin), text(s.Name))
		for _, r := range slices.Backward(records) {
			detail(w, &r)
		}
		pages[name] = []byte(w.String())
	}
	return pages
}

func detail(w *strings.Builder, r *drift.Record) {
	fmt.Fprintf(w, "\n## %s: %s\n\n", stamp(r.Time), sentence(r))
	for _, line := range [][2]string{
		{"user", r.User}, {"impersonated by", r.Impersonator}, {"groups", strings.Join(r.Groups, ", ")},
		{"address", r.Address}, {"client", r.UserAgent}, {"field manager", r.Manager},
	} {
		if line[1] != "" {
			fmt.Fprintf(w, "- %s: %s\n", line[0], code(line[1]))
		}
	}
	if len(r.Fields) == 0 {
		return
	}
	w.WriteString("\n| field | before | after |\n|---|---|---|\n")
	for _, f := range r.Fields {
		fmt.Fprintf(w, "| %s | %s | %s |\n", code(f.Path), code(f.Before), code(f.After))
	}
}

func sentence(r *drift.Record) string {
	out := text(r.Who())
	if r.Deleted {
		out += " deleted it"
	} else {
		names := make([]string, len(r.Fields))
		for i, f := range r.Fields {
			names[i] = code(f.Path)
		}
		out += " changed " + strings.Join(names[:min(3, len(names))], ", ")
		if len(names) > 3 {
			out += fmt.Sprintf(" and %d more", len(names)-3)
		}
	}
	if r.Address != "" {
		out += " from " + text(r.Address)
	}
	return out
}

// file is the page of a record's object. Names of objects cannot contain
// slashes, but those of some kinds may contain what a file name should not.
func file(r *drift.Record) string {
	safe := func(s string) string {
		return strings.Map(func(c rune) rune {
			if c == '/' || c == '\\' || c == ':' || c < 0x20 {
				return '_'
			}
			return c
		}, s)
	}
	parts := []string{strings.ToLower(r.Kind)}
	if r.Namespace != "" {
		parts = append(parts, r.Namespace)
	}
	return safe(strings.Join(append(parts, r.Name), ".")) + ".md"
}

func (c *Commit) line() string {
	return code(c.ID[:min(len(c.ID), 12)]) + " " + text(c.Subject) + " (" + text(c.Author) + ")"
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// text makes foreign words harmless in a page: one line, no markup of theirs.
func text(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	return strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", "&lt;", "|", `\|`, "#", `\#`).Replace(s)
}

// code shows foreign words as they are, inside a code span.
func code(s string) string {
	if s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " "); s == "" {
		return ""
	}
	return "`" + strings.NewReplacer("`", "'", "|", `\|`).Replace(s) + "`"
}
