package plan_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/plan"
)

// waiting is a cluster in which some objects are sick.
type waiting struct{ sick string }

func (w waiting) Healthy(ref txn.Ref) bool { return ref.Name != w.sick }

func (w waiting) Static(e *plan.Entry) bool { return e.Kind == "ConfigMap" || e.Kind == "Service" }

func TestWaves(t *testing.T) {
	t.Parallel()
	in := func(kind, name, wave string) string {
		return fmt.Sprintf("{apiVersion: v1, kind: %s, metadata: {name: %s, annotations: {gitops.headway.sh/wave: %q}}, spec: {}}", kind, name, wave)
	}
	const (
		service = "{apiVersion: v1, kind: Service, metadata: {name: hook}, spec: {selector: {app: hook}}}"
		webhook = "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: w}, webhooks: [{name: a.b.c, clientConfig: {service: {namespace: default, name: hook}}}]}"
		backend = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: back}, spec: {template: {metadata: {labels: {app: hook, x: y}}}}}"
		another = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: other}, spec: {template: {metadata: {labels: {app: web}}}}}"
	)
	for name, c := range map[string]struct {
		in, have []string
		sick     string
		want     []string
	}{
		"no wave": {in: []string{in("Pod", "a", "0"), "{apiVersion: v1, kind: Pod, metadata: {name: b}}"}, want: []string{"Pod a", "Pod b"}},
		"a lower wave comes first": {
			in:   []string{in("Pod", "a", "2"), in("Pod", "b", "-1"), in("Pod", "c", "0")},
			want: []string{"Pod b", "---", "Pod c", "---", "Pod a"},
		},
		"what is healthy once it is written is not waited for": {
			in:   []string{in("Pod", "a", "2"), in("ConfigMap", "b", "1"), in("Pod", "c", "0")},
			want: []string{"Pod c", "---", "ConfigMap b", "Pod a"},
		},
		"nor what was not changed and is healthy": {
			in: []string{in("Pod", "a", "1"), in("Pod", "b", "0")}, have: []string{in("Pod", "b", "0")},
			want: []string{"Pod a"},
		},
		"what was not changed and is sick is": {
			in: []string{in("Pod", "a", "1"), in("Pod", "c", "0"), in("Pod", "b", "-1")}, have: []string{in("Pod", "b", "-1")}, sick: "b",
			want: []string{"Pod c", "---", "Pod a"},
		},
		"a webhook waits for the workload behind its Service": {
			in:   []string{webhook, service, backend, another},
			want: []string{"Service hook", "Deployment back", "Deployment other", "---", "ValidatingWebhookConfiguration w"},
		},
		"and does not when it is there": {
			in: []string{webhook, service, backend, another}, have: []string{backend},
			want: []string{"Service hook", "Deployment other", "ValidatingWebhookConfiguration w"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench()
			b.inventory = plan.Make(b.input(t, objects(t, c.have...)...)).Next
			in := b.input(t, objects(t, c.in...)...)
			in.Waits = waiting{c.sick}
			p := plan.Make(in)
			if len(p.Problems) > 0 {
				t.Fatal(p.Problems)
			}
			if diff := cmp.Diff(c.want, asked(p)); diff != "" {
				t.Errorf("stages (-want +got):\n%s", diff)
			}
			if first := p.Stages[0].After; (len(first) > 0) != (c.sick != "") {
				t.Errorf("the first stage waits for %v", first)
			}
			in.Waits = nil
			if n := len(plan.Make(in).Stages); n != 1 {
				t.Errorf("%d stages although nothing waits", n)
			}
		})
	}
}
