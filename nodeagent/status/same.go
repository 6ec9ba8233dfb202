package status

import (
	"bytes"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// Same tells whether two statuses say the same. A pod is looked at many times
// for each change of its status, and to walk through both by reflection costs
// ten times what their encodings do; those of unequal bytes may still mean the
// same.
func Same(a, b *corev1.PodStatus) bool {
	left, err := a.Marshal()
	if err == nil {
		var right []byte
		if right, err = b.Marshal(); err == nil && bytes.Equal(left, right) {
			return true
		}
	}
	return equality.Semantic.DeepEqual(a, b)
}
