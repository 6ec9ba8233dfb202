package audit_test

import (
	"testing"

	auditinternal "k8s.io/apiserver/pkg/apis/audit"

	"github.com/headway-sh/headway/apiserver/audit"
)

// TestTheExamplePolicyKeepsSecrets judges by the policy that people copy.
func TestTheExamplePolicyKeepsSecrets(t *testing.T) {
	t.Parallel()
	c := config(t.TempDir())
	c.Policy = "../../examples/audit/policy.yaml"
	l, err := audit.New(c)
	if err != nil {
		t.Fatal(err)
	}
	for resource, want := range map[string]auditinternal.Level{
		"secrets": auditinternal.LevelMetadata, "configmaps": auditinternal.LevelMetadata, "serviceaccounts/token": auditinternal.LevelMetadata,
		"tokenreviews.authentication.k8s.io": auditinternal.LevelMetadata, "certificatesigningrequests.certificates.k8s.io": auditinternal.LevelMetadata,
		"pods/exec": auditinternal.LevelMetadata, "pods": auditinternal.LevelRequest, "deployments.apps": auditinternal.LevelRequestResponse,
		"serviceaccounts": auditinternal.LevelRequestResponse,
	} {
		for _, verb := range []string{"create", "update", "patch", "delete", "deletecollection"} {
			r := record("jane", verb, resource, "system:masters")
			if got := l.Judge(&r).Level; got != want {
				t.Errorf("%s %s: %s, want %s", verb, resource, got, want)
			}
		}
		for _, verb := range []string{"get", "list", "watch"} {
			r := record("jane", verb, resource)
			if got := l.Judge(&r).Level; got != auditinternal.LevelMetadata {
				t.Errorf("%s %s: %s", verb, resource, got)
			}
		}
	}
}
