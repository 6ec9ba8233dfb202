package kinds

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/headway-sh/headway/apiserver/kind"
)

const (
	none    = "<none>"
	unset   = "<unset>"
	unknown = "<unknown>"
)

type column = metav1.TableColumnDefinition

func nameColumn() column {
	return column{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"]}
}

func ageColumn() column {
	return column{Name: "Age", Type: "string", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"]}
}

// createdColumn shows the creation time itself, as RBAC roles do.
func createdColumn() column {
	return column{Name: "Created At", Type: "date", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"]}
}

func str(name, description string) column {
	return column{Name: name, Type: "string", Description: description}
}

func integer(name, description string) column {
	return column{Name: name, Type: "integer", Description: description}
}

func boolean(name, description string) column {
	return column{Name: name, Type: "boolean", Description: description}
}

// wide marks columns that only -o wide shows.
func wide(columns ...column) []column {
	for i := range columns {
		columns[i].Priority = 1
	}
	return columns
}

// templateColumns are the wide columns of kinds that carry a pod template.
func templateColumns() []column {
	return wide(
		str("Containers", "Names of each container in the template."),
		str("Images", "Images referenced by each container in the template."),
		str("Selector", "Label selector for pods that belong to the object."),
	)
}

func age(o metav1.Object, now time.Time) string {
	return kind.Age(o.GetCreationTimestamp(), now)
}

func created(o metav1.Object) string {
	return o.GetCreationTimestamp().UTC().Format(time.RFC3339)
}

// orNone shows an empty text as <none>.
func orNone(s string) string {
	if s == "" {
		return none
	}
	return s
}

func orUnknown(s string) string {
	if s == "" {
		return unknown
	}
	return s
}

func deref[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

func containerNames(containers []corev1.Container) string {
	names := make([]string, len(containers))
	for i := range containers {
		names[i] = containers[i].Name
	}
	return strings.Join(names, ",")
}

func containerImages(containers []corev1.Container) string {
	images := make([]string, len(containers))
	for i := range containers {
		images[i] = containers[i].Image
	}
	return strings.Join(images, ",")
}

func selectorText(s *metav1.LabelSelector) string { return metav1.FormatLabelSelector(s) }

func labelsText(m map[string]string) string { return labels.FormatLabels(m) }

// firstOf joins the first n texts and says how many more there are.
func firstOf(n int, all []string) string {
	if len(all) <= n {
		return strings.Join(all, ",")
	}
	return fmt.Sprintf("%s + %d more...", strings.Join(all[:n], ","), len(all)-n)
}

func human(d time.Duration) string { return duration.HumanDuration(d) }
