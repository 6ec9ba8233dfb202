package v1alpha1

// ReportsSpec says where the state of the cluster is written back to.
type ReportsSpec struct {
	// Disabled switches reports off.
	// +optional
	Disabled bool `json:"disabled,omitempty"`
	// Branch to write to. Default "headway/<name of the cluster>".
	// +optional
	Branch string `json:"branch,omitempty"`
}
