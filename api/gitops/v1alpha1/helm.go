package v1alpha1

import "k8s.io/apimachinery/pkg/runtime"

// RenderMode is how files become objects.
// +enum
type RenderMode string

const (
	// RenderAuto renders a directory with kustomize when a kustomization file
	// lies in it, as a chart when a Chart.yaml lies in it, and takes it as plain
	// files otherwise. A path that is a .tgz file is a chart.
	RenderAuto RenderMode = "auto"
	// RenderPlain takes every .yaml, .yml and .json file below the path.
	RenderPlain RenderMode = "plain"
	// RenderKustomize builds the path's kustomization.
	RenderKustomize RenderMode = "kustomize"
	// RenderHelm renders the path as a chart: a directory with a Chart.yaml or
	// the archive of a chart (.tgz).
	RenderHelm RenderMode = "helm"
)

// HelmSpec says how charts are rendered. Nothing is downloaded but charts from
// the repositories that are named here; hooks stay on
// their objects as annotations, and tests and notes are left out. Random strings
// are the same at each render; keys and certificates are not generated.
type HelmSpec struct {
	// ReleaseName is what templates see as .Release.Name. Empty: the name of
	// the chart's directory, or of the chart where it is an archive or lies at
	// the root.
	// +optional
	ReleaseName string `json:"releaseName,omitempty"`
	// ValuesFiles are laid over the chart's values, the last one on top. Their
	// paths begin at the chart's directory, or with a slash at the root of the
	// repository.
	// +optional
	// +listType=atomic
	ValuesFiles []string `json:"valuesFiles,omitempty"`
	// Values are laid over those of the files.
	// +optional
	Values *runtime.RawExtension `json:"values,omitempty"`
	// Mirror is a directory of the repository in which the dependencies are
	// looked for that a chart does not have in its charts directory: charts in
	// directories of their names, or archives as helm package makes them.
	// +optional
	Mirror string `json:"mirror,omitempty"`
	// Repositories are where the dependencies are looked for that are neither in
	// the charts directory nor in the mirror, in this order and whatever
	// repository Chart.yaml names. Their versions have to be exact: by a
	// Chart.lock that belongs to the Chart.yaml, or in the Chart.yaml. What has
	// come once is kept, and not fetched again.
	// +optional
	// +listType=atomic
	Repositories []ChartRepository `json:"repositories,omitempty"`
}

// ChartRepository is where charts are taken from.
type ChartRepository struct {
	// URL is https://host/path with an index.yaml below it, or file:///path or an
	// absolute path on the server: a directory with an index.yaml or with archives
	// as helm package makes them. Archives are checked by the index's SHA-256, and
	// fetched from the same host only.
	URL string `json:"url"`
	// CABundle is PEM with the certificates that the server's certificate is
	// checked against instead of the system's.
	// +optional
	CABundle []byte `json:"caBundle,omitempty"`
}
