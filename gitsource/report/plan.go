package report

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// Plan is what a reference would change; it is the schema of plans/<ref>.json.
type Plan struct {
	Ref      string  `json:"ref"`
	Commit   *Commit `json:"commit,omitempty"`
	Base     string  `json:"base,omitempty"`
	Digest   string  `json:"digest,omitempty"`
	Summary  string  `json:"summary"`
	Approval string  `json:"approval,omitempty"`
	// Environment says how the reference runs in the cluster.
	Environment string                   `json:"environment,omitempty"`
	Hooks       []v1alpha1.PlannedHook   `json:"hooks,omitempty"`
	Impact      *v1alpha1.PlanImpact     `json:"impact,omitempty"`
	Sealed      []v1alpha1.SealedFile    `json:"sealed,omitempty"`
	Outcomes    []v1alpha1.ObjectOutcome `json:"outcomes,omitempty"`
	Problems    []v1alpha1.Problem       `json:"problems,omitempty"`
}

// file is the name of a plan's pages, without their ending.
func (p *Plan) file(source string) string {
	return "plans/" + source + "/" + strings.Trim(strings.Map(func(r rune) rune {
		if r == '/' || r == '\\' || r == ':' || r < 0x20 {
			return '-'
		}
		return r
	}, strings.TrimPrefix(p.Ref, "refs/")), "-.")
}

// pages gives a plan's pages for people and for programs.
func (p *Plan) pages(source string) (map[string][]byte, error) {
	encoded, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write plan: %w", err)
	}
	w := &strings.Builder{}
	fmt.Fprintf(w, "# Plan of %s\n\n", code(p.Ref))
	if p.Commit != nil {
		fmt.Fprintf(w, "%s\n\n", p.Commit.line())
	}
	if len(p.Problems) > 0 {
		w.WriteString("**It could not be applied.**\n\n")
		for _, problem := range p.Problems {
			fmt.Fprintf(w, "- %s\n", text(problem.String()))
		}
		w.WriteString("\n")
	}
	fmt.Fprintf(w, "%s, compared with %s. Digest %s.\n", p.Summary, code(p.Base[:min(12, len(p.Base))]), code(p.Digest))
	if p.Approval != "" {
		fmt.Fprintf(w, "\n**%s**\n", text(capital(p.Approval)))
	}
	if p.Environment != "" {
		fmt.Fprintf(w, "\nEnvironment: %s\n", text(p.Environment))
	}
	if len(p.Hooks) > 0 {
		w.WriteString("\n## Hooks\n\n| stage | object | written in |\n|---|---|---|\n")
	}
	for _, h := range p.Hooks {
		fmt.Fprintf(w, "| %s | %s | %s |\n", h.Stage, code(h.Object), code(h.Origin))
	}
	if i := p.Impact; i != nil {
		w.WriteString("\n## Impact\n\n")
		for _, r := range i.Rollouts {
			fmt.Fprintf(w, "- %s: %d pods are replaced\n", code(r.Object), r.Pods)
		}
		for _, l := range i.Lost {
			fmt.Fprintf(w, "- **deleted**: %s\n", text(l))
		}
		for _, image := range i.MissingImages {
			fmt.Fprintf(w, "- no node has the image %s\n", code(image))
		}
		for _, q := range i.Quotas {
			if q.Exceeded {
				fmt.Fprintf(w, "- **more than the quota allows**: %s\n", text(q.String()))
			} else {
				fmt.Fprintf(w, "- quota: %s\n", text(q.String()))
			}
		}
		for _, l := range i.Irreversible {
			fmt.Fprintf(w, "- a rollback does not bring back: %s\n", text(l))
		}
	}
	if len(p.Sealed) > 0 {
		w.WriteString("\n## Not looked into, as encrypted\n\n")
	}
	for _, f := range p.Sealed {
		fmt.Fprintf(w, "- %s\n", code(f.String()))
	}
	if len(p.Outcomes) > 0 {
		w.WriteString("\n## Changes\n")
	}
	for i := range p.Outcomes {
		outcome(w, &p.Outcomes[i])
	}
	name := p.file(source)
	return map[string][]byte{name + ".md": []byte(w.String()), name + ".json": append(encoded, '\n')}, nil
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func outcome(w *strings.Builder, o *v1alpha1.ObjectOutcome) {
	operation := o.Operation
	if o.MovedFrom != "" && operation == "unchanged" {
		operation = "moved"
	}
	fmt.Fprintf(w, "\n### %s %s\n\n", operation, code(o.Object))
	if o.Origin != "" {
		from := ""
		if o.MovedFrom != "" {
			from = ", moved from " + code(o.MovedFrom)
		}
		fmt.Fprintf(w, "%s%s\n", code(o.Origin), from)
	}
	if o.Error != "" {
		fmt.Fprintf(w, "\n**%s**\n", text(o.Error))
	}
	if len(o.Fields) == 0 {
		return
	}
	w.WriteString("\n| field | before | after |\n|---|---|---|\n")
	for _, f := range o.Fields {
		fmt.Fprintf(w, "| %s | %s | %s |\n", code(f.Path), code(f.Before), code(f.After))
	}
}
