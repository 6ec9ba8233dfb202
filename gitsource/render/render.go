package render

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"filippo.io/age"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/render/subst"
	"github.com/headway-sh/headway/gitsource/repo"
)

// The limits of one commit's set.
const (
	MaxObjects = 50_000
	MaxFiles   = 100_000
	MaxDepth   = 64
)

// Object is one rendered object. It is shared and must not be changed.
type Object struct {
	Body *unstructured.Unstructured
	// File and Line are where it is written down.
	File string
	Line int32
	// Chain are the files that have shaped it after that: a chart and its values
	// files, or kustomizations, in order.
	Chain []string
	// Owners of the files that it is made of, File itself aside.
	Owners []string
	// Hook says that its annotations make it a hook: the project's own, Helm's
	// or Argo CD's.
	Hook bool
	// Digest is a keyed digest of the body; equal digests are equal bodies.
	Digest string

	written bool // File has the object's fields as they are, from Line on
}

// Origin is the file and line in one word.
func (o *Object) Origin() string { return v1alpha1.Origin(o.File, o.Line) }

// Through says which kustomizations and patches have shaped the object, from
// the file on; empty for what no kustomization has.
func (o *Object) Through() string {
	if len(o.Chain) == 0 || path.Base(o.Chain[0]) == chartFile {
		return ""
	}
	return strings.Join(o.Chain, " → ")
}

// Set is what a commit wants.
type Set struct {
	Commit  repo.ID
	Objects []*Object

	// Sealed are the encrypted files that were not looked into.
	Sealed []string
	// Withheld are objects of kustomizations that have parts of them.
	Withheld []Withheld
	// Unsure says that some of them are part of a kustomization or a chart of
	// which nobody can tell which objects need them: all are left out.
	Unsure bool
	// Unrecorded says that nobody knows what was encrypted in it: it was kept by
	// a version that made no note of that.
	Unrecorded bool

	lines   *lines // nil: fields have no lines of their own
	secrets []string
}

// Restored is a set that was kept, with what was encrypted in it. The lines of
// single fields are not known of it any more.
func Restored(commit repo.ID, objects []*Object, secrets []string) *Set {
	return &Set{Commit: commit, Objects: objects, secrets: secrets}
}

// Secrets are what was encrypted in the commit, for who keeps the set sealed.
func (s *Set) Secrets() []string { return s.secrets }

// Config says what is rendered and how.
type Config struct {
	Repo  *repo.Repository
	Paths []string // empty: the root
	// Ignore are the patterns of what is left out, as in a .gitignore file.
	Ignore []string
	Mode   v1alpha1.RenderMode
	Charts Charts
	// Decrypt gives the age keys for the encrypted files of an owner, or of
	// nobody in particular; it is asked once a render for each, and not at all
	// without such files. Nil: there is no key.
	Decrypt func(owner string) ([]age.Identity, error)
	// Sealed leaves out what is encrypted, and asks for no key: Set.Sealed names
	// the files.
	Sealed bool
	// Owner names whose a file is; empty: nobody's in particular. It may be nil.
	Owner func(file string) string
	// Variables are put into the files that ask for them.
	Variables map[string]subst.Variable
	// Key is the key of the digests.
	Key []byte
}

// Renderer renders commits of one repository. It remembers the last one.
type Renderer struct {
	cfg    Config
	ignore *repo.Ignore

	mu        sync.Mutex // guards all below; one Render at a time
	last, now caches
	noKey     bool // see Keyless
}

// caches hold what one render has used, so that memory follows the repository
// and not its history.
type caches struct {
	trees map[repo.ID]tree
	files map[fileKey]*result
	built map[string]*built
}

type tree struct {
	entries []repo.Entry
	refused []repo.Refusal
}

type fileKey struct {
	path string
	id   repo.ID
}

// result is what a file or a kustomization gave.
type result struct {
	objects  []*Object
	problems []v1alpha1.Problem
	secrets  []string // must not be seen in messages
	keyless  bool     // another key may make it well
	sealed   []string // encrypted files that were not opened
	// told says that objects which have nothing of the sealed files are known;
	// the others are withheld.
	told     bool
	withheld []Withheld
	lent     bool // some of the secrets are the source's own
}

// New makes a Renderer.
func New(cfg Config) *Renderer {
	if len(cfg.Paths) == 0 {
		cfg.Paths = []string{"."}
	}
	return &Renderer{cfg: cfg, ignore: repo.NewIgnore(cfg.Ignore), last: newCaches()}
}

func newCaches() caches {
	return caches{trees: map[repo.ID]tree{}, files: map[fileKey]*result{}, built: map[string]*built{}}
}

// run is one Render.
type run struct {
	*Renderer
	ctx     context.Context
	root    repo.ID
	time    time.Time // of the commit
	cluster *Cluster  // nil until it is asked for
	ids     map[string][]age.Identity
	files   int
	unsure  bool
	silent  bool // a repository of charts has not answered in time: none is asked again
	result
}

// Render gives the objects of a commit, or everything that is wrong with it;
// the set is nil when there are problems. The error says that the repository
// could not be read.
func (r *Renderer) Render(ctx context.Context, commit repo.ID) (*Set, []v1alpha1.Problem, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.cfg.Repo.Commit(commit)
	if err != nil {
		return nil, nil, err
	}
	r.now = newCaches()
	defer func() { r.last, r.now = r.now, caches{} }()
	u := &run{Renderer: r, ctx: ctx, root: c.Tree, time: c.Time.UTC()}
	for _, p := range r.cfg.Paths {
		if err := u.path(p); err != nil {
			return nil, nil, err
		}
	}
	if len(u.objects) > MaxObjects {
		u.problem("", 0, "the commit has %d objects; at most %d are taken", len(u.objects), MaxObjects)
	}
	r.noKey = u.keyless
	if len(u.problems) > 0 {
		for i := range u.problems {
			u.problems[i].Message = redact(u.problems[i].Message, u.secrets)
		}
		return nil, u.problems, nil
	}
	return &Set{Commit: commit, Objects: u.objects, lines: &lines{read: r.reader(c.Tree)}, secrets: u.secrets, Sealed: u.sealed, Withheld: u.withheld, Unsure: u.unsure}, nil, nil
}

// Keyless tells whether the last render has failed for want of a key: the same
// commit may render later.
func (r *Renderer) Keyless() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.noKey
}

// reader reads the files of a tree, with no cache that lives on.
func (r *Renderer) reader(root repo.ID) func(string) ([]byte, error) {
	entries := func(id repo.ID) ([]repo.Entry, error) {
		entries, _, err := r.cfg.Repo.Tree(id)
		return entries, err
	}
	return func(file string) ([]byte, error) {
		_, e, err := r.cfg.Repo.Lookup(entries, root, file)
		if err != nil {
			return nil, err
		}
		return r.cfg.Repo.Blob(e.ID)
	}
}

func (u *run) problem(file string, line int32, format string, args ...any) {
	u.problems = append(u.problems, v1alpha1.Problem{File: file, Line: line, Message: fmt.Sprintf(format, args...)})
}

// add takes over what a file or kustomization gave.
func (u *run) add(r *result) {
	if u.cfg.Sealed && len(r.sealed) > 0 {
		u.sealed = append(u.sealed, r.sealed...)
		if !r.told {
			return
		}
	}
	u.withheld = append(u.withheld, r.withheld...)
	u.objects = append(u.objects, r.objects...)
	u.problems = append(u.problems, r.problems...)
	u.secrets = append(u.secrets, r.secrets...)
	u.keyless = u.keyless || r.keyless
}

// addBuilt is add for a kustomization or a chart.
func (u *run) addBuilt(r *result) {
	u.unsure = u.unsure || u.cfg.Sealed && len(r.sealed) > 0 && !r.told
	u.add(r)
}

func (u *run) path(p string) error {
	resolved, e, err := u.cfg.Repo.Lookup(u.entries, u.root, p)
	switch {
	case errors.Is(err, repo.ErrNoFile) && p != ".":
		u.problem(p, 0, "the commit has no such path; a missing path never deletes anything: "+
			"take it out of the source's paths, or leave the directory with a file in it")
		return nil
	case err != nil:
		return u.refuse(p, err)
	}
	switch {
	case e.Mode == repo.File && path.Ext(resolved) == ".tgz" && u.mayChart():
		return u.takeChart(resolved, e)
	case e.Mode == repo.File:
		return u.file(resolved, e.ID)
	case e.Mode == repo.Dir:
		return u.dir(resolved, e, 0)
	}
	u.problem(p, 0, "is neither a file nor a directory")
	return nil
}

// refuse turns an error about one path into a problem, unless the repository
// itself cannot be read.
func (u *run) refuse(p string, err error) error {
	if u.ctx.Err() != nil {
		return u.ctx.Err()
	}
	u.problem(p, 0, "%s", strings.TrimPrefix(err.Error(), p+": "))
	return nil
}

func (u *run) dir(name string, at repo.Entry, depth int) error {
	if err := u.ctx.Err(); err != nil {
		return err
	}
	if depth > MaxDepth {
		u.problem(name, 0, "directories are nested more than %d deep", MaxDepth)
		return nil
	}
	t, err := u.tree(at.ID)
	if err != nil {
		return u.refuse(name, err)
	}
	for _, bad := range t.refused {
		// Where it is, and not where its name would lead to.
		u.problem(name, 0, "the name %q in it %s and is refused", bad.Name, bad.Reason)
	}
	has := func(f func(string) bool) bool {
		return slices.ContainsFunc(t.entries, func(e repo.Entry) bool { return e.Mode != repo.Dir && f(e.Name) })
	}
	switch mode := u.cfg.Mode; {
	case (mode == v1alpha1.RenderAuto || mode == v1alpha1.RenderKustomize) && has(isKustomization):
		u.addBuilt(u.kustomize(name))
		return nil
	case mode == v1alpha1.RenderKustomize:
		u.problem(name, 0, "has no kustomization.yaml, but render is kustomize")
		return nil
	case u.mayChart() && has(func(name string) bool { return name == chartFile }):
		return u.takeChart(name, at)
	case mode == v1alpha1.RenderHelm:
		u.problem(name, 0, "has no Chart.yaml, but render is helm")
		return nil
	}
	for _, e := range t.entries {
		if err := u.entry(path.Join(name, e.Name), e, depth); err != nil {
			return err
		}
	}
	return nil
}

// mayChart tells whether charts are rendered.
func (u *run) mayChart() bool {
	return u.cfg.Mode == v1alpha1.RenderAuto || u.cfg.Mode == v1alpha1.RenderHelm
}

func (u *run) takeChart(at string, e repo.Entry) error {
	got, err := u.chart(at, e)
	if err == nil {
		u.addBuilt(got)
	}
	return err
}

func (u *run) entry(name string, e repo.Entry, depth int) error {
	if u.ignore.Match(name, e.Mode == repo.Dir) {
		return nil
	}
	switch e.Mode {
	case repo.Dir:
		if strings.HasPrefix(e.Name, ".") {
			return nil
		}
		return u.dir(name, e, depth+1)
	case repo.Link:
		resolved, target, err := u.cfg.Repo.Lookup(u.entries, u.root, name)
		if err != nil {
			return u.refuse(name, err)
		}
		if target.Mode != repo.File {
			u.problem(name, 0, "symbolic links to directories are not followed")
			return nil
		}
		if owner := u.cfg.Owner; owner != nil && owner(name) != owner(resolved) {
			u.problem(name, 0, "is a symbolic link to %s, which belongs to somebody else", resolved)
			return nil
		}
		e.ID = target.ID
	case repo.Submodule:
		return nil // never followed
	}
	if !isManifest(e.Name) {
		return nil
	}
	return u.file(name, e.ID)
}

func isManifest(name string) bool {
	switch path.Ext(name) {
	case ".yaml", ".yml", ".json":
		return !strings.HasPrefix(name, ".") && !isKustomization(name)
	}
	return false
}

func (u *run) file(name string, id repo.ID) error {
	if u.files++; u.files > MaxFiles {
		return fmt.Errorf("the commit has more than %d files", MaxFiles)
	}
	got, err := u.parsed(name, id)
	if err != nil {
		return u.refuse(name, err)
	}
	u.add(got)
	return nil
}

// parsed reads a file's documents through the cache.
func (u *run) parsed(name string, id repo.ID) (*result, error) {
	key := fileKey{name, id}
	got, ok := u.now.files[key]
	if ok {
		return got, nil
	}
	if got, ok = u.last.files[key]; !ok || got.keyless {
		content, err := u.cfg.Repo.Blob(id)
		if err != nil {
			return nil, err
		}
		documents, prepared := u.read(name, content)
		if got = prepared; len(got.problems) == 0 {
			got = objects(name, documents)
			got.secrets = prepared.secrets
		}
		for _, o := range got.objects {
			u.finish(o)
		}
	}
	u.now.files[key] = got
	return got, nil
}

// tree reads a tree through the cache.
func (u *run) tree(id repo.ID) (tree, error) {
	t, ok := u.now.trees[id]
	if ok {
		return t, nil
	}
	if t, ok = u.last.trees[id]; !ok {
		var err error
		if t.entries, t.refused, err = u.cfg.Repo.Tree(id); err != nil {
			return tree{}, err
		}
	}
	u.now.trees[id] = t
	return t, nil
}

func (u *run) entries(id repo.ID) ([]repo.Entry, error) {
	t, err := u.tree(id)
	return t.entries, err
}

// digest is keyed, so that nobody can guess a Secret's content from it.
func digest(key []byte, body *unstructured.Unstructured) string {
	encoded, err := json.Marshal(body.Object)
	if err != nil {
		return "" // never equal to a stored one
	}
	h := hmac.New(sha256.New, key)
	h.Write(encoded)
	return hex.EncodeToString(h.Sum(nil)[:16])
}
