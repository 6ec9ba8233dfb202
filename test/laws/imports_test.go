package laws_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/headway-sh/headway/"

// rooms are the components; they meet only at API objects and the contracts in api.
var rooms = []string{"apiserver", "reconciler", "scheduler", "nodeagent", "proxy", "gitsource"}

// goPackage is what `go list` tells of a package.
type goPackage struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
	Deps                               []string
}

// law is what packages below a directory may import of ours.
type law struct {
	dir     string
	may     []string
	because string
}

var laws = []law{
	{"api", nil, "api is the contract: who implements or uses it must not be known to it"},
	{"membership", []string{"internal"}, "membership knows no room; what it is used for is wired in cmd/headway"},
	{"apiserver", []string{"api", "internal"}, "a room meets the others only at API objects and the contracts in api"},
	{"reconciler", []string{"api", "internal"}, "a room meets the others only at API objects and the contracts in api"},
	{"scheduler", []string{"api", "internal"}, "a room meets the others only at API objects and the contracts in api"},
	{"proxy", []string{"api", "internal"}, "a room meets the others only at API objects and the contracts in api"},
	{"gitsource", []string{"api", "internal"}, "a room meets the others only at API objects and the contracts in api"},
	{"nodeagent", []string{"api", "internal", "membership"}, "a room meets the others only at API objects and the contracts in api"},
	{"internal", []string{"internal", "api"}, "internal packages are leaves that any room may stand on"},
	{"examples", []string{"scheduler"}, "an example is something to start from, not a part of the program: it may use what a room offers to plug-ins"},
}

func TestImports(t *testing.T) {
	t.Parallel()
	for _, p := range list(t, "./...") {
		for _, l := range laws {
			if !below(p.ImportPath, l.dir) {
				continue
			}
			for _, imported := range p.Imports {
				if !allowed(l, imported) {
					t.Errorf("%s imports %s: %s", p.ImportPath, imported, l.because)
				}
			}
		}
	}
}

// Tests of a room may not lean on another room either.
func TestImportsOfTests(t *testing.T) {
	t.Parallel()
	for _, p := range list(t, "./...") {
		for _, room := range rooms {
			if !below(p.ImportPath, room) {
				continue
			}
			for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
				for _, other := range rooms {
					if other != room && below(imported, other) {
						t.Errorf("a test of %s imports %s: what needs two rooms is tested in cmd or test/e2e", p.ImportPath, imported)
					}
				}
			}
		}
	}
}

func TestNeverKubernetesItself(t *testing.T) {
	t.Parallel()
	itself := path.Join("k8s.io", "kubernetes")
	for _, p := range list(t, "./...") {
		for _, d := range p.Deps {
			if d == itself || strings.HasPrefix(d, itself+"/") {
				t.Errorf("%s depends on %s: this project implements Kubernetes and does not wrap it", p.ImportPath, d)
			}
		}
	}
}

// Room-to-room dependencies are forbidden by any way round.
func TestRoomsDoNotDependOnEachOther(t *testing.T) {
	t.Parallel()
	for _, p := range list(t, "./...") {
		for _, room := range rooms {
			if !below(p.ImportPath, room) {
				continue
			}
			for _, d := range p.Deps {
				for _, other := range rooms {
					if other != room && below(d, other) {
						t.Errorf("%s depends on %s by way of others: rooms never know each other", p.ImportPath, d)
					}
				}
			}
		}
	}
}

func allowed(l law, imported string) bool {
	if !strings.HasPrefix(imported, module) || below(imported, l.dir) {
		return true
	}
	return slices.ContainsFunc(l.may, func(dir string) bool { return below(imported, dir) })
}

func below(path, dir string) bool {
	return path == module+dir || strings.HasPrefix(path, module+dir+"/")
}

func list(t *testing.T, pattern string) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,TestImports,XTestImports,Deps", pattern)
	cmd.Dir = "../.."
	var failure bytes.Buffer
	cmd.Stderr = &failure
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, failure.String())
	}
	var all []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}
