package gitsource

import (
	"bytes"
	"slices"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/render/sops"
	"github.com/headway-sh/headway/gitsource/repo"
)

// sealedFiles names in a Plan the encrypted files that were not looked into,
// the changed ones first, and tells which objects may be written down in them:
// those are not deleted for not having been seen. It is nil for a set that was
// seen as a whole.
func (s *source) sealedFiles(set *render.Set, out *v1alpha1.PlanStatus) func(*plan.Entry) bool {
	if len(set.Sealed) == 0 {
		return nil
	}
	applied := s.appliedFile()
	files := slices.Compact(slices.Sorted(slices.Values(set.Sealed)))
	var changed, same []v1alpha1.SealedFile
	for _, file := range files {
		if was := applied(file); was != nil && bytes.Equal(was, s.fileOf(set.Commit, file)) {
			same = append(same, v1alpha1.SealedFile{File: file})
		} else {
			changed = append(changed, v1alpha1.SealedFile{File: file, Changed: true})
		}
	}
	all := slices.Concat(changed, same)
	out.Sealed = all[:min(len(all), maxOutcomes)]
	withheld := map[render.Withheld]bool{}
	for _, w := range set.Withheld {
		withheld[w] = true
	}
	encrypted := map[string]bool{} // of applied files, each looked at once
	return func(e *plan.Entry) bool {
		file, _ := v1alpha1.ParseOrigin(e.Origin)
		if _, in := slices.BinarySearch(files, file); in || set.Unsure {
			return true
		}
		if withheld[render.Withheld{Group: e.Group, Kind: e.Kind, Namespace: e.Namespace, Name: e.Name}] ||
			withheld[render.Withheld{Group: e.Group, Kind: e.Kind, Name: e.Name}] {
			return true
		}
		// It may have gone into one of the changed files.
		if len(changed) == 0 || e.Kind == "Secret" {
			return len(changed) > 0
		}
		is, known := encrypted[file]
		if !known {
			is = sops.Encrypted(applied(file))
			encrypted[file] = is
		}
		return is
	}
}

// appliedFile reads files of the applied commit; nil for those that are not
// there.
func (s *source) appliedFile() func(string) []byte {
	id, err := repo.ParseID(s.inventory.Head.Commit)
	if err != nil {
		return func(string) []byte { return nil }
	}
	return func(file string) []byte { return s.fileOf(id, file) }
}

func (s *source) fileOf(commit repo.ID, file string) []byte {
	content, err := s.follower.repo.FileAt(commit, file)
	if err != nil {
		return nil // what cannot be read is taken for changed
	}
	return content
}
