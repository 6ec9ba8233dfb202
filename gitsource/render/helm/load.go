package helm

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"archive/tar"

	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/ignore"
)

// The limits of a chart's files.
const (
	MaxChart = 32 << 20 // bytes, with all archives unpacked
	MaxFile  = 5 << 20
)

// Load reads a chart from the files of its directory. What .helmignore names is
// left out.
func Load(files []File) (*chart.Chart, error) {
	rules := ignore.Empty()
	for _, f := range files {
		if f.Name == ignore.HelmIgnore {
			parsed, err := ignore.Parse(bytes.NewReader(f.Data))
			if err != nil {
				return nil, &Error{Path: f.Name, Line: 1, Message: err.Error()}
			}
			rules = parsed
		}
	}
	rules.AddDefaults()
	left := int64(MaxChart)
	var buffered []*archive.BufferedFile
	for _, f := range files {
		if ignored(rules, f) {
			continue
		}
		if len(f.Data) > MaxFile {
			return nil, &Error{Path: f.Name, Line: 1, Message: fmt.Sprintf("is larger than %d bytes", MaxFile)}
		}
		if left -= int64(len(f.Data)); left < 0 {
			return nil, tooLarge
		}
		if isArchive(f.Name) {
			if err := unpacked(f.Data, &left, 0); err != nil {
				return nil, &Error{Path: f.Name, Line: 1, Message: err.Error()}
			}
		}
		buffered = append(buffered, &archive.BufferedFile{Name: f.Name, Data: bytes.TrimPrefix(f.Data, []byte("\xef\xbb\xbf"))})
	}
	c, err := loader.LoadFiles(buffered)
	if err != nil {
		return nil, &Error{Path: mentioned(err, files), Line: 1, Message: oneLine(err.Error())}
	}
	return c, nil
}

// LoadArchive reads a chart from a .tgz file.
func LoadArchive(content []byte) (*chart.Chart, error) {
	left := int64(MaxChart)
	if err := unpacked(content, &left, 0); err != nil {
		return nil, &Error{Message: err.Error()}
	}
	c, err := loader.LoadArchive(bytes.NewReader(content))
	if err != nil {
		return nil, &Error{Message: "is not a chart archive: " + oneLine(err.Error())}
	}
	return c, nil
}

// Size is how many bytes the files of a chart have, with those of the charts in
// it.
func Size(c *chart.Chart) int {
	size := 0
	for _, f := range c.Raw {
		if !strings.HasPrefix(f.Name, "charts/") { // which its dependencies have
			size += len(f.Data)
		}
	}
	for _, d := range c.Dependencies() {
		size += Size(d)
	}
	return size
}

var tooLarge = &Error{Message: fmt.Sprintf("the chart has more than %d bytes, with its archives unpacked", MaxChart)}

// Missing are the dependencies that Chart.yaml names and the chart does not
// have.
func Missing(c *chart.Chart) []*chart.Dependency {
	var out []*chart.Dependency
	for _, want := range c.Metadata.Dependencies {
		if want != nil && !has(c, want) {
			out = append(out, want)
		}
	}
	return out
}

func has(c *chart.Chart, want *chart.Dependency) bool {
	for _, d := range c.Dependencies() {
		if Satisfies(d, want) {
			return true
		}
	}
	return false
}

// Satisfies tells whether a chart is what a dependency asks for.
func Satisfies(c *chart.Chart, want *chart.Dependency) bool {
	return c.Name() == want.Name && chartutil.IsCompatibleRange(want.Version, c.Metadata.Version)
}

// Need is the error about a dependency that is missing.
func Need(c *chart.Chart, want *chart.Dependency) *Error {
	return &Error{Path: "Chart.yaml", Line: lineOf(raw(c, "Chart.yaml"), "name: "+want.Name), Message: fmt.Sprintf(
		"the dependency %s %s is neither in charts/ nor in the source's helm.mirror, no helm.repositories are named, and nothing is downloaded: run helm dependency update, and commit charts/",
		want.Name, want.Version)}
}

// isArchive tells whether a file is an archive of a chart.
func isArchive(name string) bool {
	return strings.HasPrefix(name, "charts/") && path.Ext(name) == ".tgz"
}

// unpacked takes what an archive, with the archives in it, unpacks to from
// what is left.
func unpacked(content []byte, left *int64, depth int) error {
	if depth > 8 {
		return errors.New("archives are nested too deeply")
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return fmt.Errorf("is not a .tgz archive: %w", err)
	}
	reader := tar.NewReader(io.LimitReader(unzipped, *left+1))
	for {
		h, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			if *left <= 0 {
				return tooLarge
			}
			return fmt.Errorf("is not a .tgz archive: %w", err)
		}
		data, err := io.ReadAll(io.LimitReader(reader, *left+1))
		if *left -= int64(len(data)) + 512; *left < 0 {
			return tooLarge
		}
		if err != nil {
			return fmt.Errorf("is not a whole .tgz archive: %w", err)
		}
		if path.Ext(h.Name) == ".tgz" {
			if err := unpacked(data, left, depth+1); err != nil {
				return err
			}
		}
	}
}

// ignored tells whether a file, or a directory it lies in, is left out.
func ignored(rules *ignore.Rules, f File) bool {
	for i := range f.Name {
		if f.Name[i] == '/' && rules.Ignore(f.Name[:i], info{f.Name[:i], true}) {
			return true
		}
	}
	return rules.Ignore(f.Name, info{f.Name, false})
}

// info is what .helmignore's rules want to know of a file.
type info struct {
	name string
	dir  bool
}

var _ fs.FileInfo = info{}

func (i info) Name() string       { return path.Base(i.name) }
func (i info) Size() int64        { return 0 }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.dir }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

// mentioned is the file that an error of Helm's loader is about.
func mentioned(err error, files []File) string {
	for _, name := range []string{"values.yaml", "Chart.lock", "requirements.yaml"} {
		if strings.Contains(err.Error(), name) {
			return name
		}
	}
	for _, f := range files {
		if isArchive(f.Name) && strings.Contains(err.Error(), path.Base(f.Name)) {
			return f.Name
		}
	}
	return "Chart.yaml"
}

// Values reads a values file, or several documents of one, later ones over
// earlier ones.
func Values(content []byte) (map[string]any, error) {
	return loader.LoadValues(bytes.NewReader(content))
}

// Over lays values over others.
func Over(under, values map[string]any) map[string]any { return loader.MergeMaps(under, values) }
