package audit_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/audit"
)

// policyFile writes a policy of the given rules.
func policyFile(t *testing.T, rules string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(path, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\n"+rules), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func raw(e auditv1.Event) [2]string {
	var out [2]string
	if e.RequestObject != nil {
		out[0] = string(e.RequestObject.Raw)
	}
	if e.ResponseObject != nil {
		out[1] = string(e.ResponseObject.Raw)
	}
	return out
}

func TestLevelsHaveTheirObjects(t *testing.T) {
	t.Parallel()
	const managed = `{"metadata":{"name":"x","managedFields":[{"manager":"m"}]},"n":12345678901234567890}`
	for name, c := range map[string]struct {
		rules             string
		request, response string
		want              [2]string
		truncated         bool
	}{
		"metadata":         {"rules: [{level: Metadata}]", managed, managed, [2]string{"", ""}, false},
		"request":          {"rules: [{level: Request}]", `{"a":1}`, `{"b":2}`, [2]string{`{"a":1}`, ""}, false},
		"both":             {"rules: [{level: RequestResponse}]", `{"a":1}`, `{"b":2}`, [2]string{`{"a":1}`, `{"b":2}`}, false},
		"managed fields":   {"rules: [{level: RequestResponse}]", managed, `[]`, [2]string{managed, `[]`}, false},
		"omitted":          {"omitManagedFields: true\nrules: [{level: RequestResponse}]", managed, `[{"op":"add","path":"/metadata/managedFields"}]`, [2]string{`{"metadata":{"name":"x"},"n":12345678901234567890}`, `[{"op":"add","path":"/metadata/managedFields"}]`}, false},
		"omitted by rule":  {"rules: [{level: Request, omitManagedFields: true}]", managed, "", [2]string{`{"metadata":{"name":"x"},"n":12345678901234567890}`, ""}, false},
		"kept by rule":     {"omitManagedFields: true\nrules: [{level: Request, omitManagedFields: false}]", managed, "", [2]string{managed, ""}, false},
		"omitted in lists": {"omitManagedFields: true\nrules: [{level: RequestResponse}]", "", `{"items":[` + managed + `],"metadata":{}}`, [2]string{"", `{"items":[{"metadata":{"name":"x"},"n":12345678901234567890}],"metadata":{}}`}, false},
		"and in tables":    {"omitManagedFields: true\nrules: [{level: RequestResponse}]", "", `{"rows":[{"object":{"metadata":{"managedFields":[]}}}]}`, [2]string{"", `{"rows":[{"object":{"metadata":{}}}]}`}, false},
		"too large":        {"rules: [{level: RequestResponse}]", `{"a":1}`, `"` + strings.Repeat("x", 200) + `"`, [2]string{"", ""}, true},
		"large, unwanted":  {"rules: [{level: Request}]", `{"a":1}`, `"` + strings.Repeat("x", 200) + `"`, [2]string{`{"a":1}`, ""}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := config(t.TempDir())
			config.Policy, config.MaxEvent = policyFile(t, c.rules), 150
			r := record("jane", "update", "pods")
			r.Request, r.Response = []byte(c.request), []byte(c.response)
			events := written(t, config, r)
			if len(events) != 1 {
				t.Fatalf("%d events", len(events))
			}
			if diff := cmp.Diff(c.want, raw(events[0])); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
			if got := events[0].Annotations["audit.k8s.io/truncated"] == "true"; got != c.truncated {
				t.Errorf("truncated: %v", got)
			}
		})
	}
}

// TestStagesAreOmitted also finds no objects in what is told before they come.
func TestStagesAreOmitted(t *testing.T) {
	t.Parallel()
	for rules, want := range map[string][]auditv1.Stage{
		"rules: [{level: Request}]":                                                               {"RequestReceived", "ResponseStarted", "ResponseComplete"},
		"omitStages: [RequestReceived]\nrules: [{level: Request}]":                                {"ResponseStarted", "ResponseComplete"},
		"omitStages: [RequestReceived]\nrules: [{level: Request, omitStages: [ResponseStarted]}]": {"ResponseComplete"},
	} {
		c := config(t.TempDir())
		c.Policy = policyFile(t, rules)
		var records []audit.Record
		for _, stage := range []auditinternal.Stage{auditinternal.StageRequestReceived, auditinternal.StageResponseStarted, auditinternal.StageResponseComplete} {
			r := record("jane", "watch", "pods")
			r.Stage, r.Request = stage, []byte(`{}`)
			records = append(records, r)
		}
		var got []auditv1.Stage
		for _, e := range written(t, c, records...) {
			got = append(got, e.Stage)
			if (e.RequestObject == nil) != (e.Stage == auditv1.StageRequestReceived) {
				t.Errorf("%s: stage %s has the object %v", rules, e.Stage, e.RequestObject)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", rules, diff)
		}
	}
}

// TestObjectsDoNotFillTheMemory has nobody write: objects go first.
func TestObjectsDoNotFillTheMemory(t *testing.T) {
	t.Parallel()
	c := config(t.TempDir())
	c.Policy = policyFile(t, "rules: [{level: Request}]")
	l, err := audit.New(c)
	if err != nil {
		t.Fatal(err)
	}
	r := record("jane", "update", "pods")
	r.Request = []byte(`"` + strings.Repeat("x", 1<<20-2) + `"`)
	r.Judged = l.Judge(&r)
	for range 40 {
		l.Audit(&r, now)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(c.Path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), `"audit.k8s.io/truncated":"true"`); n != 8 || l.Written() != 40 || l.Dropped() != 0 {
		t.Errorf("%d of %d without object, %d dropped", n, l.Written(), l.Dropped())
	}
}

// TestWhoeverReallyAsksIsJudged: impersonation does not change which rule holds.
func TestWhoeverReallyAsksIsJudged(t *testing.T) {
	t.Parallel()
	c := config(t.TempDir())
	c.Policy = policyFile(t, "rules: [{level: None, users: [robot]}, {level: Metadata}]")
	r := record("robot", "get", "pods")
	r.Real = &txn.Identity{Name: "jane"}
	other := record("jane", "get", "pods")
	other.Real = &txn.Identity{Name: "robot"}
	if events := written(t, c, r, other); len(events) != 1 || events[0].User.Username != "jane" {
		t.Errorf("events %+v", events)
	}
}
