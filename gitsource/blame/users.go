package blame

import (
	"strings"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// Name fills in who used the managers that wrote the fields of an object, as far
// as the source has seen it.
func Name(fields []Field, object string, seen []v1alpha1.LiveWriter) {
	for i := range fields {
		for j := range fields[i].Writers {
			w := &fields[i].Writers[j]
			for _, s := range seen { // the newest last
				if s.Object == object && s.Manager == w.Manager && wrote(s.Fields, fields[i].Path) {
					w.User = s.User
				}
			}
		}
	}
}

// wrote tells whether one of some paths is another one, a part of it or around
// it.
func wrote(paths []string, path string) bool {
	for _, p := range paths {
		if p == path || within(p, path) || within(path, p) {
			return true
		}
	}
	return false
}

func within(path, in string) bool {
	rest, ok := strings.CutPrefix(path, in)
	return ok && (strings.HasPrefix(rest, ".") || strings.HasPrefix(rest, "["))
}
