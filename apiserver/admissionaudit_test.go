package apiserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// TestAdmissionIsAudited finds what webhooks and policies say to the audit.
func TestAdmissionIsAudited(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server, _ := startIn(t, dir, nil)
	client := adminClient(t, server)
	hook := answering(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Allowed: true, AuditAnnotations: map[string]string{"mood": "good"}}
	})
	hook.mutating(t, client, "moods")
	policyOf(t, client, "names", "validations: [{expression: \"false\", message: noted}]\nauditAnnotations: [{key: name, valueExpression: object.metadata.name + '!'}]")
	bindingOf(t, client, "names", "names", "validationActions: [Audit]")
	_, err := makeConfigMap(t, client, "default", "audited", metav1.CreateOptions{})
	check(t, err)
	eventually(t, "an event", func(context.Context) (bool, error) {
		text, err := os.ReadFile(filepath.Join(dir, "audit", "audit.log"))
		if err != nil && !os.IsNotExist(err) {
			return false, err
		}
		for line := range bytes.Lines(text) {
			var e auditv1.Event
			if json.Unmarshal(line, &e) != nil || e.ObjectRef == nil || e.ObjectRef.Resource != "configmaps" || e.Annotations["moods.example.com/mood"] == "" {
				continue
			}
			const failure = "validation.policy.admission.k8s.io/validation_failure"
			if a := e.Annotations; a["moods.example.com/mood"] != "good" || a["names/name"] != "audited!" || !strings.Contains(a[failure], `"message":"noted","policy":"names","binding":"names"`) ||
				a["mutation.webhook.admission.k8s.io/round_0_index_0"] != `{"configuration":"moods","webhook":"moods.example.com","mutated":false}` {
				t.Errorf("annotations %v", a)
			}
			return true, nil
		}
		return false, nil
	})
}
