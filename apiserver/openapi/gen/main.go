// The program gen writes apiserver/openapi/definitions.json.gz: the OpenAPI v3
// schemas of every API type that can be served, with their descriptions, by
// name. It is run by "make update" in the module's root and needs nothing but
// the Go tool.
//
// openapi-gen turns the types' source into Go code; that code has to be
// compiled to get at the schemas, so it goes into a directory of its own with
// a main package that prints them, and is removed afterwards. What stays are
// zz_generated.model_name.go files in the project's own API packages: the names
// under which schemas refer to each other.
package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	module = "github.com/headway-sh/headway"
	output = "apiserver/openapi/definitions.json.gz"
)

// packages hold the types of the groups and versions that may be served.
var packages = []string{
	"k8s.io/api/admissionregistration/v1", "k8s.io/api/apps/v1", "k8s.io/api/authentication/v1", "k8s.io/api/authorization/v1",
	"k8s.io/api/autoscaling/v1", "k8s.io/api/autoscaling/v2", "k8s.io/api/batch/v1", "k8s.io/api/certificates/v1",
	"k8s.io/api/coordination/v1", "k8s.io/api/core/v1", "k8s.io/api/discovery/v1", "k8s.io/api/events/v1", "k8s.io/api/flowcontrol/v1",
	"k8s.io/api/networking/v1", "k8s.io/api/node/v1", "k8s.io/api/policy/v1", "k8s.io/api/rbac/v1", "k8s.io/api/resource/v1",
	"k8s.io/api/scheduling/v1", "k8s.io/api/scheduling/v1alpha3", "k8s.io/api/storage/v1",
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1", "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1",
	"k8s.io/apimachinery/pkg/apis/meta/v1", "k8s.io/apimachinery/pkg/api/resource", "k8s.io/apimachinery/pkg/runtime",
	"k8s.io/metrics/pkg/apis/metrics/v1beta1", "k8s.io/apimachinery/pkg/util/intstr", "k8s.io/apimachinery/pkg/version",
}

// printer is the main package that prints the schemas.
const printer = `package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"maps"
	"strings"

	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/util"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"%s/generated"
)

func main() {
	name := func(name string) (string, spec.Extensions) {
		if strings.Contains(name, "/") {
			name = util.ToRESTFriendlyName(name)
		}
		return name, nil
	}
	definitions := generated.GetOpenAPIDefinitions(func(string) spec.Ref { return spec.Ref{} })
	schemas, err := builder3.BuildOpenAPIDefinitionsForResources(&common.OpenAPIV3Config{
		Info: &spec.Info{}, GetDefinitions: generated.GetOpenAPIDefinitions, GetDefinitionName: name,
	}, slices.Sorted(maps.Keys(definitions))...)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(schemas)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
`

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run() error {
	own, err := filepath.Glob("api/*/v[0-9]*")
	if err != nil {
		return err
	}
	inputs := slices.Clone(packages)
	for _, dir := range own {
		inputs = append(inputs, module+"/"+filepath.ToSlash(dir))
	}
	work, err := os.MkdirTemp("apiserver/openapi/gen", "tmp")
	if err != nil {
		return fmt.Errorf("make a directory (run this in the module's root): %w", err)
	}
	defer os.RemoveAll(work)
	path := module + "/" + filepath.ToSlash(work)

	args := append([]string{"tool", "openapi-gen", "--go-header-file", os.DevNull, "--report-filename", filepath.Join(work, "report"),
		"--output-dir", filepath.Join(work, "generated"), "--output-pkg", path + "/generated", "--output-file", "definitions.go",
		"--output-model-name-file", "zz_generated.model_name.go", "--readonly-pkg", strings.Join(packages, ",")}, inputs...)
	if _, err := command("go", args...); err != nil {
		return fmt.Errorf("generate definitions: %w", err)
	}
	if err := os.WriteFile(filepath.Join(work, "main.go"), fmt.Appendf(nil, printer, path), 0o644); err != nil {
		return err
	}
	schemas, err := command("go", "run", "./"+filepath.ToSlash(work))
	if err != nil {
		return fmt.Errorf("print schemas: %w", err)
	}
	return write(schemas)
}

func command(name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	return cmd.Output()
}

// write compresses the schemas; the same schemas always give the same file.
func write(schemas []byte) error {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(bytes.TrimSpace(schemas)); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(output, b.Bytes(), 0o644)
}
