package render

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// The kustomizations of a build are read a second time here, for what kustomize
// does not tell at a bearable price: by its own annotations every transformer
// writes to every object.

// overlay is one kustomization.
type overlay struct {
	file, content string

	NamePrefix            string        `json:"namePrefix"`
	NameSuffix            string        `json:"nameSuffix"`
	Resources             []string      `json:"resources"`
	Bases                 []string      `json:"bases"`
	Components            []string      `json:"components"`
	Patches               []overlayEdit `json:"patches"`
	PatchesJSON6902       []overlayEdit `json:"patchesJson6902"`
	PatchesStrategicMerge []string      `json:"patchesStrategicMerge"`
	SecretGenerator       []generator   `json:"secretGenerator"`
	ConfigMapGenerator    []generator   `json:"configMapGenerator"`

	// What may carry parts of one object into another.
	Replacements   []any `json:"replacements"`
	Vars           []any `json:"vars"`
	Configurations []any `json:"configurations"`
	Generators     []any `json:"generators"`
	Transformers   []any `json:"transformers"`
	Validators     []any `json:"validators"`
}

// carries tells whether parts of one object may end up in another.
func (o *overlay) carries() bool {
	return len(o.Replacements)+len(o.Vars)+len(o.Configurations)+len(o.Generators)+len(o.Transformers)+len(o.Validators) > 0
}

type overlayEdit struct {
	Path   string `json:"path"`
	Patch  string `json:"patch"`
	Target *struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
	} `json:"target"`
}

type generator struct {
	Files []string `json:"files"`
	Envs  []string `json:"envs"`
	Env   string   `json:"env"`
}

// note takes in a kustomization that is read.
func (g *gitFS) note(file string, content []byte) {
	o := &overlay{file: file, content: string(content)}
	if yaml.Unmarshal(content, o) != nil {
		return // kustomize has the better message
	}
	if g.overlays == nil {
		g.overlays = map[string]*overlay{}
	}
	g.overlays[path.Dir(file)] = o
}

// maxWays bounds in how many ways files may come into a build.
const maxWays = 20_000

// ways are, for each file, the kustomizations that it comes through, from the
// one that names it to the one that is built.
func (g *gitFS) ways() map[string][][]*overlay {
	if g.through != nil {
		return g.through
	}
	g.through = map[string][][]*overlay{}
	left := maxWays
	var visit func(dir string, above []*overlay)
	visit = func(dir string, above []*overlay) {
		o := g.overlays[dir]
		if o == nil || len(above) > MaxDepth || left <= 0 {
			return
		}
		way := append([]*overlay{o}, above...)
		g.through[o.file] = append(g.through[o.file], way) // what it generates
		for _, entry := range slices.Concat(o.Resources, o.Bases, o.Components) {
			left--
			at := path.Join(dir, entry)
			if g.overlays[at] != nil {
				visit(at, way)
				continue
			}
			g.through[at] = append(g.through[at], way)
		}
	}
	visit(g.dir, nil)
	return g.through
}

// chain are the files that have shaped an object on its way from a file: each
// kustomization, and the patches of it that are for the object.
func (g *gitFS) chain(file, kind, original, name string) []string {
	ways := g.ways()[file]
	if len(ways) == 0 {
		return nil
	}
	way, fits := ways[0], -1
	for _, w := range ways { // the one that makes this name of it
		before, after := "", ""
		for _, o := range w {
			before, after = o.NamePrefix+before, after+o.NameSuffix
		}
		if before+original+after == name {
			way = w
			break
		}
		// Of what is generated the first name is not known.
		if rest, ok := strings.CutPrefix(name, before); ok && strings.Contains(rest, after) && len(before+after) > fits {
			way, fits = w, len(before+after)
		}
	}
	var out []string
	for _, o := range way {
		if o.file != file {
			out = append(out, o.file)
		}
		out = append(out, g.edits(o, kind, original, name)...)
	}
	return out
}

// edits are the patches of a kustomization for an object: files, or lines of
// the kustomization.
func (g *gitFS) edits(o *overlay, kind string, names ...string) []string {
	var out []string
	add := func(e overlayEdit) {
		content := e.Patch
		where := path.Join(path.Dir(o.file), e.Path)
		if e.Path == "" {
			first, _, _ := strings.Cut(strings.TrimSpace(e.Patch), "\n")
			where = fmt.Sprintf("%s:%d", o.file, lineOf([]byte(o.content), first))
		} else {
			content = g.texts[where]
		}
		if e.isFor(content, kind, names) && !slices.Contains(out, where) {
			out = append(out, where)
		}
	}
	for _, e := range slices.Concat(o.Patches, o.PatchesJSON6902) {
		add(e)
	}
	for _, text := range o.PatchesStrategicMerge {
		if strings.Contains(text, "\n") {
			add(overlayEdit{Patch: text})
		} else {
			add(overlayEdit{Path: text})
		}
	}
	return out
}

// isFor tells whether a patch is for an object of one of the names. Selectors
// of labels are not looked at.
func (e *overlayEdit) isFor(content, kind string, names []string) bool {
	if t := e.Target; t != nil {
		return matchesWhole(t.Kind, kind) && slices.ContainsFunc(names, func(n string) bool { return matchesWhole(t.Name, n) })
	}
	for document := range strings.SplitSeq("\n"+content, "\n---") {
		var head struct {
			Kind     string `json:"kind"`
			Metadata struct {
				Name string `json:"name"`
			} `json:"metadata"`
		}
		if yaml.Unmarshal([]byte(document), &head) == nil && head.Kind == kind && slices.Contains(names, head.Metadata.Name) {
			return true
		}
	}
	return false
}

// matchesWhole is how kustomize takes the fields of a target.
func matchesWhole(pattern, text string) bool {
	if pattern == "" || pattern == text {
		return true
	}
	is, err := regexp.Compile("^(?:" + pattern + ")$")
	return err == nil && is.MatchString(text)
}

// generates tells whether a generator takes in a file.
func (g *gitFS) generates(file string) bool {
	for dir, o := range g.overlays {
		for _, from := range slices.Concat(o.SecretGenerator, o.ConfigMapGenerator) {
			for _, entry := range slices.Concat(from.Files, from.Envs, []string{from.Env}) {
				if _, behind, ok := strings.Cut(entry, "="); ok {
					entry = behind
				}
				if entry != "" && path.Join(dir, entry) == file {
					return true
				}
			}
		}
	}
	return false
}

// edited tells whether a file is a resource or a patch of a kustomization.
func (g *gitFS) edited(file string) bool {
	for dir, o := range g.overlays {
		at := func(entry string) bool { return entry != "" && path.Join(dir, entry) == file }
		patch := func(e overlayEdit) bool { return at(e.Path) }
		if slices.ContainsFunc(slices.Concat(o.Resources, o.PatchesStrategicMerge), at) ||
			slices.ContainsFunc(slices.Concat(o.Patches, o.PatchesJSON6902), patch) {
			return true
		}
	}
	return false
}
