package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/repo"
)

// Version is that of the format. Others are refused.
const Version = 1

// The names of the parts.
const (
	manifestName  = "manifest.json"
	signatureName = "manifest.sig"
	historyName   = "history.bundle"
	objectsName   = "objects.json"
	// ImagesPrefix is what the names of the image layout's parts begin with.
	ImagesPrefix = "images/"
	layoutName   = ImagesPrefix + "oci-layout"
	indexName    = ImagesPrefix + "index.json"
	blobPrefix   = ImagesPrefix + "blobs/sha256/"
)

// The limits of what is read into memory.
const (
	maxManifest  = 32 << 20
	maxSignature = 64 << 10
	maxObjects   = 64 << 20
	maxDocument  = 8 << 20 // an index or a manifest of an image
	maxParts     = 100_000
)

// Manifest says what a bundle holds.
type Manifest struct {
	Version int       `json:"version"`
	Made    time.Time `json:"made"`
	Source  Source    `json:"source"`
	// Commit is what the bundle brings; Since is the commit that whoever takes
	// it must have, with its images. Empty: nothing.
	Commit string `json:"commit"`
	Since  string `json:"since,omitempty"`
	// Subject is the first line of the commit's message.
	Subject string `json:"subject,omitempty"`
	// Images tells whether the bundle has the images of the commit.
	Images bool   `json:"images"`
	Parts  []Part `json:"parts"`
}

// Source is how a commit is followed.
type Source struct {
	Name string `json:"name"`
	// Branch is what the bundle's history names.
	Branch string `json:"branch"`
	// Spec is the source's without what belongs to its place: URL, credentials,
	// reports and who is told.
	Spec v1alpha1.GitSourceSpec `json:"spec"`
}

// Part is one part of a bundle.
type Part struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Size is that of all parts.
func (m *Manifest) Size() int64 {
	var sum int64
	for _, p := range m.Parts {
		sum += p.Size
	}
	return sum
}

// Travelling is the part of a source's spec that a bundle has.
func Travelling(spec *v1alpha1.GitSourceSpec) v1alpha1.GitSourceSpec {
	s := spec.DeepCopy()
	return v1alpha1.GitSourceSpec{
		Ref: s.Ref, Paths: s.Paths, Ignore: s.Ignore, Render: s.Render, Helm: s.Helm, Decryption: s.Decryption, Variables: s.Variables,
		TargetNamespace: s.TargetNamespace, ServiceAccountName: s.ServiceAccountName, ServiceAccountNamespace: s.ServiceAccountNamespace,
		Tenants: s.Tenants, Prune: s.Prune, Timeout: s.Timeout, Health: s.Health, Drift: s.Drift, Windows: s.Windows, Guards: s.Guards,
	}
}

var hexSum = regexp.MustCompile(`^[0-9a-f]{64}$`)

// readManifest reads and checks a manifest.
func readManifest(text []byte) (*Manifest, error) {
	var m Manifest
	var version struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(text, &version); err != nil {
		return nil, fmt.Errorf("read its manifest: %w", err)
	}
	if version.Version != Version {
		return nil, fmt.Errorf("it is of version %d, and this program knows version %d: use a program as new as the one that made it", version.Version, Version)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("read its manifest: %w", err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("its manifest is wrong: %w", err)
	}
	return &m, nil
}

func (m *Manifest) check() error {
	for _, id := range []string{m.Commit, m.Since} {
		if id == "" && m.Commit != "" {
			continue
		}
		if _, err := repo.ParseID(id); err != nil {
			return err
		}
	}
	switch {
	case !repo.IsRefName("refs/heads/" + m.Source.Branch):
		return fmt.Errorf("%q is no branch", m.Source.Branch)
	case len(m.Parts) > maxParts:
		return fmt.Errorf("it has more than %d parts", maxParts)
	}
	seen := map[string]bool{}
	var total int64
	for _, p := range m.Parts {
		if err := p.check(); err != nil {
			return err
		}
		if seen[p.Name] {
			return fmt.Errorf("part %q is there twice", p.Name)
		}
		seen[p.Name] = true
		if total += p.Size; total < 0 {
			return errors.New("its parts are larger than any disk")
		}
	}
	if len(m.Parts) < 2 || m.Parts[0].Name != historyName || m.Parts[1].Name != objectsName {
		return fmt.Errorf("it does not begin with %s and %s", historyName, objectsName)
	}
	if m.Images != (len(m.Parts) > 3 && m.Parts[2].Name == layoutName && m.Parts[3].Name == indexName) || !m.Images && len(m.Parts) > 2 {
		return fmt.Errorf("its images do not begin with %s and %s", layoutName, indexName)
	}
	return nil
}

func (p *Part) check() error {
	switch sum, blob := strings.CutPrefix(p.Name, blobPrefix); {
	case !hexSum.MatchString(p.SHA256):
		return fmt.Errorf("part %q has no SHA-256", p.Name)
	case p.Size < 0:
		return fmt.Errorf("part %q has a negative size", p.Name)
	case blob && sum == p.SHA256: // which is 64 digits, and so leads nowhere
	case p.Name == historyName, p.Name == layoutName:
	case p.Name == objectsName && p.Size <= maxObjects:
	case p.Name == indexName && p.Size <= maxDocument:
	default:
		return fmt.Errorf("nothing may be called %q in a bundle, or not be so large", p.Name)
	}
	return nil
}
