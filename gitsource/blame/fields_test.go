package blame_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/headway-sh/headway/gitsource/blame"
)

const written = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {app.kubernetes.io/name: web}}
spec:
  replicas: 2
  paused: true
  selector: {matchLabels: {app: web}}
  template:
    spec:
      containers:
      - {name: web, image: "web:1", args: [a, b]}
      - {name: gone, image: "gone:1"}
`

const live = `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
  labels: {app.kubernetes.io/name: web}
  annotations: {note: mine}
  managedFields:
  - manager: headway:main
    operation: Apply
    time: "2026-01-01T00:00:00Z"
    fieldsType: FieldsV1
    fieldsV1:
      f:metadata: {f:labels: {"f:app.kubernetes.io/name": {}}}
      f:spec:
        f:selector: {}
        f:template: {f:spec: {f:containers: {'k:{"name":"web"}': {".": {}, f:name: {}, f:image: {}, f:args: {}}}}}
  - manager: kubectl-edit
    operation: Update
    time: "2026-01-02T00:00:00Z"
    fieldsType: FieldsV1
    fieldsV1:
      f:metadata: {f:annotations: {f:note: {}}}
      f:spec: {f:replicas: {}, f:template: {f:spec: {f:containers: {'k:{"name":"web"}': {f:image: {}}}}}}
  - {manager: kubelet, operation: Update, subresource: status, fieldsType: FieldsV1, fieldsV1: {f:status: {f:replicas: {}}}}
spec:
  replicas: 5
  selector: {matchLabels: {app: web}}
  template:
    spec:
      containers:
      - {name: web, image: "web:1", args: [a, b]}
`

func TestFields(t *testing.T) {
	t.Parallel()
	own := []string{
		`metadata.labels["app.kubernetes.io/name"]: web|web headway:main`,
		`spec.paused: true|<nil> drifted`,
		`spec.replicas: 2|5 kubectl-edit drifted`,
		`spec.selector.matchLabels.app: web|web headway:main`,
		`spec.template.spec.containers[name="web"].args: [a b]|[a b] headway:main`,
		`spec.template.spec.containers[name="web"].image: web:1|web:1 headway:main,kubectl-edit`,
		`spec.template.spec.containers[name="web"].name: web|web headway:main`,
		`spec.template.spec.containers[name="gone"].image: gone:1|<nil> drifted`,
		`spec.template.spec.containers[name="gone"].name: gone|<nil> drifted`,
	}
	for name, tc := range map[string]struct {
		others bool
		want   []string
	}{
		"what git says":       {false, own},
		"what others say too": {true, append([]string{`metadata.annotations.note: <nil>|mine kubectl-edit`}, own...)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fields, err := blame.Fields("headway:main", read(t, written), read(t, live), tc.others)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range fields {
				var who []string
				for _, w := range f.Writers {
					who = append(who, w.Manager)
				}
				line := strings.TrimSpace(fmt.Sprintf("%s: %v|%v %s", f.Path, f.Git, f.Live, strings.Join(who, ",")))
				if f.Drifted {
					line += " drifted"
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func read(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}
