package render

import (
	"fmt"
	"path"
	"strings"

	"github.com/headway-sh/headway/gitsource/render/helm"
	"github.com/headway-sh/headway/gitsource/repo"
)

// looks reads from a commit and notes what was looked at; see built.
type looks struct {
	run  *run
	seen map[string]string

	owners owners // of the files that were read
}

func (l *looks) entry(name string) (string, repo.Entry, error) {
	name = inside(name)
	resolved, e, err := l.run.cfg.Repo.Lookup(l.run.entries, l.run.root, name)
	l.seen[name] = seen(e, err)
	if err == nil && e.Mode == repo.File {
		l.owners.add(l.run.cfg.Owner, name, resolved)
	}
	return resolved, e, err
}

func (l *looks) file(name string) ([]byte, error) {
	resolved, e, err := l.entry(name)
	if err != nil {
		return nil, err
	}
	if e.Mode != repo.File {
		return nil, fmt.Errorf("%s is not a file", resolved)
	}
	content, err := l.run.cfg.Repo.Blob(e.ID)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", resolved, err)
	}
	return content, nil
}

func (l *looks) list(name string) ([]repo.Entry, error) {
	resolved, e, err := l.entry(name)
	if err != nil {
		return nil, err
	}
	if e.Mode != repo.Dir {
		return nil, fmt.Errorf("%s is not a directory", resolved)
	}
	l.seen[inside(name)+"/*"] = e.ID.String()
	return l.run.entries(e.ID)
}

// below reads all files below a directory. Its tree's id stands for them all.
func (l *looks) below(dir string, id repo.ID) ([]helm.File, error) {
	l.seen[inside(dir)] = "dir"
	l.seen[inside(dir)+"/*"] = id.String()
	var out []helm.File
	left := helm.MaxChart
	err := l.walk(dir, "", id, 0, func(name string, content []byte) error {
		if left -= len(content); left < 0 || len(out) > maxChartFiles {
			return fmt.Errorf("the chart has more than %d files or %d bytes", maxChartFiles, helm.MaxChart)
		}
		out = append(out, helm.File{Name: name, Data: content})
		return nil
	})
	return out, err
}

const maxChartFiles = 5000

func (l *looks) walk(root, name string, id repo.ID, depth int, f func(string, []byte) error) error {
	if err := l.run.ctx.Err(); err != nil {
		return err
	}
	if depth > MaxDepth {
		return fmt.Errorf("directories are nested more than %d deep", MaxDepth)
	}
	t, err := l.run.tree(id)
	if err != nil {
		return err
	}
	if len(t.refused) > 0 {
		return &helm.Error{Path: name, Message: fmt.Sprintf("the name %q in it %s and is refused", t.refused[0].Name, t.refused[0].Reason)}
	}
	for _, e := range t.entries {
		full := path.Join(name, e.Name)
		switch e.Mode {
		case repo.Dir:
			if err := l.walk(root, full, e.ID, depth+1, f); err != nil {
				return err
			}
			continue
		case repo.Submodule:
			continue
		}
		// A link leads where its tree's id does not tell.
		content, err := l.file(path.Join(root, full))
		if err != nil {
			return &helm.Error{Path: full, Message: strings.TrimPrefix(err.Error(), path.Join(root, full)+": ")}
		}
		if err := f(full, content); err != nil {
			return err
		}
	}
	return nil
}
