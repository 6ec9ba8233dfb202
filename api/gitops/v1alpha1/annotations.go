package v1alpha1

// The annotations of objects in git. docs/ordering.md says which words of Helm
// and of Argo CD are understood besides.
const (
	// AnnotationWave puts an object into a wave, a whole number, 0 without it:
	// it is written when every object of lower waves is healthy.
	AnnotationWave = GroupName + "/wave"
)
