// Package storageclass says which storage class is the default one.
package storageclass

const (
	// DefaultAnnotation is "true" on the default class.
	DefaultAnnotation = "storageclass.kubernetes.io/is-default-class"
	// OldDefaultAnnotation is what it was called before.
	OldDefaultAnnotation = "storageclass.beta.kubernetes.io/is-default-class"
)

// IsDefault tells whether a class with these annotations is a default one.
func IsDefault(annotations map[string]string) bool {
	return annotations[DefaultAnnotation] == "true" || annotations[OldDefaultAnnotation] == "true"
}
