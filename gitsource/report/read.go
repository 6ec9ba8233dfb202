package report

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// SourceIn reads one source from another cluster's report; read gives a file of
// it, or nil for one that is not there.
func SourceIn(read func(name string) ([]byte, error), source string) (*Source, error) {
	content, err := read("status.json")
	if err != nil {
		return nil, err
	}
	var s State
	if err := json.Unmarshal(content, &s); err != nil {
		return nil, fmt.Errorf("status.json: %w", err)
	}
	for i := range s.Sources {
		if s.Sources[i].Name == source {
			return &s.Sources[i], nil
		}
	}
	return nil, errors.New("there is no such source in it")
}

// ReleaseIn reads what one source made of a commit from another cluster's
// report; nil: nothing that can be read.
func ReleaseIn(read func(name string) ([]byte, error), source, commit string) *v1alpha1.ReleaseStatus {
	content, err := read("commits/" + commit + ".json")
	var page commitPage
	if err != nil || json.Unmarshal(content, &page) != nil || page.Commit != commit {
		return nil
	}
	for i := range page.Releases {
		if r := &page.Releases[i]; r.Spec.Source == source {
			return &r.Status
		}
	}
	return nil
}
