package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/bundle"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/repo"
)

// maxUnlike is how many objects of a bundle are named that are not as listed.
const maxUnlike = 5

// compareObjects renders a bundle's commit as the bundle says that its source
// does, and looks whether that gives the objects that the bundle lists. What is
// encrypted is left out: the keys may be elsewhere.
func compareObjects(ctx context.Context, r *repo.Repository, b *readBundle) error {
	id, err := repo.ParseID(b.Manifest.Commit)
	if err != nil {
		return err
	}
	source := v1alpha1.GitSource{Spec: *b.Manifest.Source.Spec.DeepCopy()}
	v1alpha1.SetDefaultsGitSource(&source)
	cfg, err := offlineRendering(&source.Spec, r, b.Manifest.Source.Name, "")
	if err != nil {
		return err
	}
	cfg.Decrypt, cfg.Sealed = nil, true
	set, problems, err := render.New(cfg).Render(ctx, id)
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		return fmt.Errorf("the bundle's commit does not render here: %s", problems[0])
	}
	return unlike(b.Objects, set)
}

// unlike says which objects of a rendered commit are not as a bundle lists them.
func unlike(listed []bundle.Object, set *render.Set) error {
	here, err := bundle.Objects(set)
	if err != nil {
		return err
	}
	key := func(o *bundle.Object) string {
		return strings.Join([]string{o.APIVersion, o.Kind, o.Namespace, o.Name}, " ")
	}
	sums, seen := map[string]*bundle.Object{}, map[string]bool{}
	for i := range listed {
		sums[key(&listed[i])] = &listed[i]
	}
	var bad []string
	for i := range here {
		o := &here[i]
		seen[key(o)] = true
		switch was := sums[key(o)]; {
		case was == nil:
			bad = append(bad, fmt.Sprintf("%s: %s %s is not in the list", o.Origin, o.Kind, o.Name))
		case was.SHA256 != o.SHA256:
			bad = append(bad, fmt.Sprintf("%s: %s %s is another one than listed", o.Origin, o.Kind, o.Name))
		}
	}
	for i := range listed {
		if o := &listed[i]; !seen[key(o)] && len(set.Sealed) == 0 {
			bad = append(bad, fmt.Sprintf("%s: %s %s is listed, and nothing makes it", o.Origin, o.Kind, o.Name))
		}
	}
	if len(bad) == 0 {
		return nil
	}
	more := ""
	if n := len(bad) - maxUnlike; n > 0 {
		more = fmt.Sprintf(", and %d more", n)
		bad = bad[:maxUnlike]
	}
	return fmt.Errorf("the commit does not render to what the bundle lists (it was made by another version of headway, or is forged): %s%s", strings.Join(bad, "; "), more)
}
