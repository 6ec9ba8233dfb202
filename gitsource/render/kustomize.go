package render

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/yaml"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/repo"
)

var kustomizationNames = []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}

const originAnnotation = "config.kubernetes.io/origin"

func isKustomization(name string) bool { return slices.Contains(kustomizationNames, name) }

// built is the result of a kustomization or a chart and everything it has looked at.
type built struct {
	result
	looked map[string]string // path → what was there; see gitFS.see
	owners owners            // of the files it was made of

	// What a chart depends on besides.
	live, dated bool
	time        time.Time
	cluster     *Cluster
	chain       []string // values files
}

// kustomizeMu guards kustomize's package-wide schema, which a kustomization
// may replace while it is built.
var kustomizeMu sync.Mutex

// kustomize builds the kustomization in a directory, or gives back what it
// built before when nothing it looked at has changed.
func (u *run) kustomize(dir string) *result {
	if b, ok := u.last.built[dir]; ok && u.unchanged(b) {
		u.now.built[dir] = b
		return &b.result
	}
	fs, resources, err := u.kustomized(dir, false)
	if len(fs.peeked) > 0 && (err != nil || len(fs.refused) > 0 || !fs.tellable()) {
		fs, resources, err = u.kustomized(dir, true)
	}
	b := &built{looked: fs.looked}
	u.now.built[dir] = b
	b.secrets, b.keyless, b.sealed, b.owners, b.lent = fs.secrets, fs.keyless, fs.sealed, fs.owners, fs.lent
	for _, file := range slices.Sorted(maps.Keys(fs.peeked)) {
		b.sealed, b.told = append(b.sealed, file), true
	}
	if len(fs.refused) > 0 {
		b.problems = fs.refused
		return &b.result
	}
	if shared := fs.owners.check(fs.lent); shared != nil {
		err = shared
	}
	if err != nil {
		file := fs.kustomization()
		b.problems = []v1alpha1.Problem{{File: file, Line: 1, Message: "kustomize: " + cleanError(err)}}
		return &b.result
	}
	for _, resource := range resources.Resources() {
		body, err := resource.Map()
		if err != nil {
			b.problems = append(b.problems, v1alpha1.Problem{File: fs.kustomization(), Message: fmt.Sprintf("kustomize: %s: %v", resource.CurId(), err)})
			continue
		}
		body, err = asJSON(body)
		if err != nil {
			b.problems = append(b.problems, v1alpha1.Problem{File: fs.kustomization(), Message: err.Error()})
			continue
		}
		b.add(u, fs, body)
	}
	return &b.result
}

// kustomized runs kustomize; with whole, an encrypted file ends that.
func (u *run) kustomized(dir string, whole bool) (*gitFS, resmap.ResMap, error) {
	fs := &gitFS{run: u, dir: dir, whole: whole, looked: map[string]string{}}
	kustomizeMu.Lock()
	defer kustomizeMu.Unlock()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(fs, "/"+strings.TrimPrefix(dir, "."))
	return fs, resources, err
}

func (b *built) add(u *run, fs *gitFS, body map[string]any) {
	o := &unstructured.Unstructured{Object: body}
	file, line, original, written := fs.origin(o)
	annotations := o.GetAnnotations()
	delete(annotations, originAnnotation)
	if len(annotations) == 0 {
		annotations = nil
	}
	o.SetAnnotations(annotations)
	delete(body, "status")
	unstructured.RemoveNestedField(body, "metadata", "creationTimestamp")
	if o.GetAPIVersion() == "" || o.GetKind() == "" || o.GetName() == "" {
		b.problems = append(b.problems, v1alpha1.Problem{File: file, Line: line, Object: o.GetKind(), Message: "needs apiVersion, kind and metadata.name"})
		return
	}
	if b.told && hasCipher(body) {
		b.withheld = append(b.withheld, Withheld{o.GroupVersionKind().Group, o.GetKind(), o.GetNamespace(), o.GetName()})
		return
	}
	chain := fs.chain(file, o.GetKind(), original, o.GetName())
	b.objects = append(b.objects, u.finish(&Object{Body: o, File: file, Line: line, Chain: chain, Owners: b.owners, written: written}))
}

// asJSON gives numbers the types they have in objects that came through JSON.
func asJSON(body map[string]any) (map[string]any, error) {
	encoded, err := yaml.Marshal(body)
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{}
	encoded, err = yaml.YAMLToJSON(encoded)
	if err != nil {
		return nil, err
	}
	if err := u.UnmarshalJSON(encoded); err != nil {
		return nil, fmt.Errorf("kustomize: %w", err)
	}
	return u.Object, nil
}

func cleanError(err error) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "'/", "'")), " ")
}

func (fs *gitFS) kustomization() string {
	for _, name := range kustomizationNames {
		if p := path.Join(fs.dir, name); fs.Exists("/" + p) {
			return p
		}
	}
	return fs.dir
}

// origin finds where a built object is written: the file that kustomize says,
// and in it the document of the same kind whose name the built name contains.
func (fs *gitFS) origin(o *unstructured.Unstructured) (file string, line int32, name string, written bool) {
	var said struct {
		Path         string `json:"path"`
		ConfiguredIn string `json:"configuredIn"`
	}
	name = o.GetName()
	text := o.GetAnnotations()[originAnnotation]
	if text == "" || yaml.Unmarshal([]byte(text), &said) != nil {
		return fs.kustomization(), 1, name, false
	}
	if said.Path == "" {
		return path.Join(fs.dir, said.ConfiguredIn), 1, name, false
	}
	file, line = path.Join(fs.dir, said.Path), 1
	for _, document := range fs.parsed(file) {
		if document.Body.GetKind() == o.GetKind() && strings.Contains(o.GetName(), document.Body.GetName()) {
			line, name, written = document.Line, document.Body.GetName(), true
			if document.Body.GetName() == o.GetName() {
				break
			}
		}
	}
	return file, line, name, written
}

// remote finds what would make kustomize leave the repository.
var remote = regexp.MustCompile(`(?i)^([a-z+.-]+://|[a-z0-9_.-]+@[^/]+:|[a-z]+::|(www\.)?github\.com/|gh:)`)

// listed are the fields whose entries kustomize loads, by file or directory.
var listed = []string{"resources", "bases", "components", "crds", "configurations", "generators", "transformers", "validators", "patchesStrategicMerge"}

// offLimits says what in a kustomization is not allowed, with its line.
func offLimits(file string, content []byte, look func(string) error) []v1alpha1.Problem {
	var k map[string]any
	if yaml.Unmarshal(content, &k) != nil {
		return nil // kustomize has the better message
	}
	var out []v1alpha1.Problem
	fail := func(what, format string, args ...any) {
		out = append(out, v1alpha1.Problem{File: file, Line: lineOf(content, what), Message: fmt.Sprintf(format, args...)})
	}
	for _, field := range []string{"helmCharts", "helmChartInflationGenerator", "helmGlobals"} {
		if _, ok := k[field]; ok {
			fail(field, "%s: Helm inside a kustomization is off", field)
		}
	}
	for _, field := range listed {
		entries, _ := k[field].([]any)
		for _, e := range entries {
			entry, ok := e.(string)
			if !ok || strings.Contains(entry, "\n") {
				continue // written in place
			}
			at := path.Join(path.Dir(file), entry)
			err := look(at)
			if err == nil {
				continue
			}
			if remote.MatchString(entry) || strings.Contains(entry, "?ref=") || strings.Contains(entry, ".git") {
				fail(entry, "%s: %q is remote: remote bases are off, because what they name can change without a commit; copy it into the repository", field, entry)
			} else if strings.HasPrefix(at, "../") || !errors.Is(err, repo.ErrNoFile) {
				fail(entry, "%s: %q leads out of the repository", field, entry)
			} else {
				fail(entry, "%s: %q does not exist in this commit", field, entry)
			}
		}
	}
	urls(k, "", func(key, value string) {
		fail(value, "%s: %q is a URL: kustomize may read files of this repository only", key, value)
	})
	return out
}

// urls calls f for every URL under a key that kustomize takes as a file name.
func urls(v any, key string, f func(key, value string)) {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			urls(inner, k, f)
		}
	case []any:
		for _, inner := range v {
			urls(inner, key, f)
		}
	case string:
		if !slices.Contains([]string{"path", "paths", "files", "env", "envs", "file"}, key) {
			return
		}
		if _, behind, ok := strings.Cut(v, "="); ok && remote.MatchString(behind) || remote.MatchString(v) {
			f(key, v)
		}
	}
}

func lineOf(content []byte, what string) int32 {
	for i, line := range strings.Split(string(content), "\n") {
		if strings.Contains(line, what) {
			return int32(i + 1)
		}
	}
	return 1
}
