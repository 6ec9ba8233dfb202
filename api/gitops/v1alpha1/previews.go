package v1alpha1

// LabelPreviewOf on a Plan names the source that keeps it for a reference.
const LabelPreviewOf = GroupName + "/preview-of"

// PreviewsSpec says which references are planned: what each would change is
// kept in a Plan and in the report, anew whenever its head or the cluster has
// changed.
type PreviewsSpec struct {
	// Refs are patterns of full reference names, as "refs/pull/*/head",
	// "refs/merge-requests/*/head" or "refs/heads/feature-*"; * does not span
	// slashes. Secrets in them are not decrypted.
	// +optional
	// +listType=atomic
	Refs []string `json:"refs,omitempty"`
	// Max is how many are planned, those with the newest commits first.
	// Default 20.
	// +optional
	Max *int32 `json:"max,omitempty"`
	// Environments, when present, has references run in the cluster, each in a
	// namespace of its own.
	// +optional
	Environments *EnvironmentsSpec `json:"environments,omitempty"`
}
