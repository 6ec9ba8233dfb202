package plan

import (
	"fmt"
	"strconv"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// argoWave is Argo CD's annotation of the same meaning.
const argoWave = "argocd.argoproj.io/sync-wave"

// wave is the wave that an object's annotations put it into.
func wave(annotations map[string]string) (int, error) {
	for _, key := range []string{v1alpha1.AnnotationWave, argoWave} {
		text, ok := annotations[key]
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return 0, fmt.Errorf("the annotation %s must be a whole number, not %q", key, text)
		}
		return int(n), nil
	}
	return 0, nil
}
