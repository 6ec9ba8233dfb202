package report

import (
	"fmt"
	"strings"
)

// Comment is a plan as the comment of a pull request, of at most so many bytes.
// Words that people may choose stand in code spans: there forges see neither
// markup nor mentions nor links.
func Comment(p *Plan, cluster, source string, longest int) string {
	w := &strings.Builder{}
	fmt.Fprintf(w, "### Plan for cluster %s, source %s\n\n", code(cluster), code(source))
	if n := len(p.Problems); n > 0 {
		fmt.Fprintf(w, "**It could not be applied** (problems: %d).\n\n", n)
		for _, problem := range p.Problems[:min(n, 10)] {
			fmt.Fprintf(w, "- %s\n", code(clip(problem.String())))
		}
	} else {
		fmt.Fprintf(w, "**%s**\n", p.Summary)
	}
	if p.Approval != "" {
		fmt.Fprintf(w, "\n%s\n", code(clip(p.Approval)))
	}
	if p.Environment != "" {
		fmt.Fprintf(w, "\nEnvironment: %s\n", code(clip(p.Environment)))
	}
	if i := p.Impact; i != nil {
		w.WriteString("\n")
		for _, r := range i.Rollouts[:min(len(i.Rollouts), 20)] {
			fmt.Fprintf(w, "- %s: %d pods are replaced\n", code(r.Object), r.Pods)
		}
		for title, all := range inOrder([]string{"**deleted**", "no node has the image", "a rollback does not bring back"}, i.Lost, i.MissingImages, i.Irreversible) {
			for _, one := range all[:min(len(all), 20)] {
				fmt.Fprintf(w, "- %s: %s\n", title, code(clip(one)))
			}
		}
	}
	for i, f := range p.Sealed[:min(len(p.Sealed), 20)] {
		if i == 0 {
			w.WriteString("\n")
		}
		fmt.Fprintf(w, "- encrypted, not looked into: %s\n", code(clip(f.String())))
	}
	for _, h := range p.Hooks[:min(len(p.Hooks), 20)] {
		fmt.Fprintf(w, "- runs the %s hook %s, written in %s\n", h.Stage, code(clip(h.Object)), code(clip(h.Origin)))
	}
	tail := &strings.Builder{}
	if p.Commit != nil {
		fmt.Fprintf(tail, "\n%s compared with %s.", code(p.Commit.ID[:min(12, len(p.Commit.ID))]), code(p.Base[:min(12, len(p.Base))]))
	}
	if p.Digest != "" {
		fmt.Fprintf(tail, " Digest %s.", code(p.Digest))
	}
	tail.WriteString("\n")
	table(w, p, longest-tail.Len())
	w.WriteString(tail.String())
	return w.String()
}

// table folds the objects up below the summary, as many as there is room for.
func table(w *strings.Builder, p *Plan, longest int) {
	if len(p.Outcomes) == 0 {
		return
	}
	fmt.Fprintf(w, "\n<details><summary>Objects: %d</summary>\n\n| | object | written in | fields |\n|---|---|---|---|\n", len(p.Outcomes))
	const closing = "\n</details>\n"
	const room = len(closing) + 64 // for the line that says how many are left out
	for i := range p.Outcomes {
		line := objectRow(p, i)
		if w.Len()+len(line)+room > longest {
			fmt.Fprintf(w, "\nand %d more objects\n", len(p.Outcomes)-i)
			break
		}
		w.WriteString(line)
	}
	w.WriteString(closing)
}

func objectRow(p *Plan, i int) string {
	o := &p.Outcomes[i]
	operation := o.Operation
	if o.MovedFrom != "" && operation == "unchanged" {
		operation = "moved"
	}
	var fields []string
	for _, f := range o.Fields[:min(len(o.Fields), 5)] {
		fields = append(fields, code(clip(f.Path))+" "+code(clip(f.Before))+" → "+code(clip(f.After)))
	}
	if more := len(o.Fields) - 5; more > 0 {
		fields = append(fields, fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("| %s | %s | %s | %s |\n", operation, code(clip(o.Object)), code(clip(o.Origin)), strings.Join(fields, "<br>"))
}

// inOrder goes through lists with their titles.
func inOrder(titles []string, lists ...[]string) func(func(string, []string) bool) {
	return func(yield func(string, []string) bool) {
		for i, title := range titles {
			if !yield(title, lists[i]) {
				return
			}
		}
	}
}

// clip keeps one value from filling the page.
func clip(s string) string {
	if len(s) > 300 {
		return strings.ToValidUTF8(s[:297], "") + "..."
	}
	return s
}
