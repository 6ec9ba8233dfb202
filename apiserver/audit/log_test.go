package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/audit"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func config(dir string) audit.Config {
	return audit.Config{Path: filepath.Join(dir, "audit", "audit.log"), Clock: clocktesting.NewFakePassiveClock(now), Log: slog.New(slog.DiscardHandler)}
}

// written runs the log until everything is written and gives the events.
func written(t *testing.T, c audit.Config, records ...audit.Record) []auditv1.Event {
	t.Helper()
	l, err := audit.New(c)
	if err != nil {
		t.Fatal(err)
	}
	for i := range records {
		records[i].Judged = l.Judge(&records[i])
		l.Audit(&records[i], now)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop() // what is buffered is written all the same
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(c.Path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var events []auditv1.Event
	for line := range strings.Lines(string(text)) {
		var e auditv1.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		events = append(events, e)
	}
	return events
}

func record(user, verb, resource string, groups ...string) audit.Record {
	r := audit.Record{ID: "id", Identity: txn.Identity{Name: user, Groups: groups}, Verb: verb, Version: "v1", Namespace: "shop", Name: "x", Stage: "ResponseComplete", Code: 200, Decision: "allow"}
	resource, r.Subresource, _ = strings.Cut(resource, "/")
	r.Resource = schema.ParseGroupResource(resource)
	return r
}

func TestTheDefaultPolicyWritesWhatPeopleDo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		record audit.Record
		want   bool
	}{
		"person reads":              {record("jane", "get", "secrets"), true},
		"person writes":             {record("jane", "create", "pods"), true},
		"system reads":              {record("system:kube-scheduler", "list", "pods"), false},
		"node reads":                {record("system:node:n", "watch", "pods", "system:nodes"), false},
		"node's heartbeat":          {record("system:node:n", "update", "leases.coordination.k8s.io", "system:nodes"), false},
		"node's status":             {record("system:node:n", "patch", "nodes/status", "system:nodes"), false},
		"scheduler binds":           {record("system:kube-scheduler", "create", "pods/binding"), true},
		"controller creates":        {record("system:serviceaccount:kube-system:job-controller", "create", "pods", "system:serviceaccounts:kube-system"), true},
		"application's own reads":   {record("system:serviceaccount:shop:web", "get", "secrets", "system:serviceaccounts"), true},
		"health":                    {audit.Record{Identity: txn.Identity{Name: "jane"}, Verb: "get", Path: "/readyz", Stage: "ResponseComplete", Code: 200}, false},
		"metrics":                   {audit.Record{Identity: txn.Identity{Name: "jane"}, Verb: "get", Path: "/metrics", Stage: "ResponseComplete", Code: 200}, true},
		"the stage that is omitted": {audit.Record{Identity: txn.Identity{Name: "jane"}, Verb: "get", Path: "/metrics", Stage: "RequestReceived"}, false},
	} {
		if got := len(written(t, config(t.TempDir()), c.record)) == 1; got != c.want {
			t.Errorf("%s: written %v, want %v", name, got, c.want)
		}
	}
}

func TestAnEventSaysWhoDidWhat(t *testing.T) {
	t.Parallel()
	r := record("jane", "delete", "deployments.apps")
	r.Real = &txn.Identity{Name: "root", UID: "0", Groups: []string{"wheel"}, Extra: map[string][]string{"host": {"a"}}}
	r.Identity.UserAgent, r.SourceIPs, r.URI = "kubectl/v1.37", []string{"192.0.2.1"}, "/apis/apps/v1/namespaces/shop/deployments/x"
	r.Code, r.Decision, r.Reason = 403, "forbid", "no role"
	r.Request, r.Response = []byte(`{"a":1}`), []byte(`{"b":2}`)
	r.Status = &metav1.Status{Status: metav1.StatusFailure, Code: 403, Reason: metav1.StatusReasonForbidden, Message: "no role for it"}
	events := written(t, config(t.TempDir()), r)
	if len(events) != 1 {
		t.Fatalf("%d events", len(events))
	}
	e := events[0]
	if e.Kind != "Event" || e.APIVersion != "audit.k8s.io/v1" || e.Level != "Metadata" || e.AuditID != "id" || e.User.Username != "root" || e.User.Groups[0] != "wheel" || e.User.Extra["host"][0] != "a" ||
		e.ResponseStatus.Reason != metav1.StatusReasonForbidden || e.ResponseStatus.Message != "no role for it" || e.ImpersonatedUser.Username != "jane" ||
		e.ObjectRef.APIGroup != "apps" || e.ObjectRef.Resource != "deployments" || e.ResponseStatus.Code != 403 || e.Annotations["authorization.k8s.io/decision"] != "forbid" ||
		e.Annotations["authorization.k8s.io/reason"] != "no role" || e.SourceIPs[0] != "192.0.2.1" || e.UserAgent != "kubectl/v1.37" || !e.StageTimestamp.Time.Equal(now) {
		t.Errorf("%+v", e)
	}
	if e.RequestObject != nil || e.ResponseObject != nil {
		t.Error("the event has objects")
	}
}

func TestFilesRotate(t *testing.T) {
	t.Parallel()
	c := config(t.TempDir())
	clock := clocktesting.NewFakePassiveClock(now)
	c.Clock, c.MaxSize, c.Backups, c.MaxAge = clock, 1, 2, time.Hour
	for i := range 5 {
		clock.SetTime(now.Add(time.Duration(i) * time.Minute))
		written(t, c, record(fmt.Sprintf("user-%d", i), "get", "pods"), record("last", "get", "pods"))
	}
	rotated, err := filepath.Glob(filepath.Join(filepath.Dir(c.Path), "audit-*.log"))
	if err != nil || len(rotated) != 2 {
		t.Errorf("rotated files: %v, %v", rotated, err)
	}
	clock.SetTime(now.Add(10 * time.Hour))
	written(t, c, record("much-later", "get", "pods"), record("last", "get", "pods"))
	if rotated, err = filepath.Glob(filepath.Join(filepath.Dir(c.Path), "audit-*.log")); err != nil || len(rotated) != 1 {
		t.Errorf("rotated files after ten hours: %v, %v", rotated, err)
	}
}

func TestPoliciesAreChecked(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nonsense":      "rules: [",
		"no rules":      "apiVersion: audit.k8s.io/v1\nkind: Policy\n",
		"unknown level": "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: All}]\n",
	} {
		c := config(t.TempDir())
		c.Policy = filepath.Join(t.TempDir(), "policy.yaml")
		if err := os.WriteFile(c.Policy, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := audit.New(c); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestAFullBufferDropsAndCounts(t *testing.T) {
	t.Parallel()
	l, err := audit.New(config(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	r := record("jane", "get", "pods")
	r.Judged = l.Judge(&r)
	for range 17 << 10 { // nobody writes: none of them may block
		l.Audit(&r, now)
	}
	if l.Dropped() != 1<<10 {
		t.Errorf("%d dropped", l.Dropped())
	}
}

func BenchmarkAudit(b *testing.B) {
	l, err := audit.New(config(b.TempDir()))
	if err != nil {
		b.Fatal(err)
	}
	r := record("jane", "get", "pods")
	b.ReportAllocs()
	for b.Loop() {
		r.Judged = l.Judge(&r)
		l.Audit(&r, now)
	}
}
