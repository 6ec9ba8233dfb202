package audit

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	k8saudit "k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/headway-sh/headway/api/txn"
)

// DefaultPolicy is in force when there is no policy file.
const DefaultPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
# What components do all the time: reads, leases, health and how nodes and pods are.
- level: None
  userGroups: ["system:nodes", "system:serviceaccounts:kube-system"]
  verbs: ["get", "list", "watch"]
- level: None
  users: ["system:kube-scheduler", "system:kube-controller-manager", "system:kube-proxy", "system:apiserver"]
  verbs: ["get", "list", "watch"]
- level: None
  userGroups: ["system:nodes", "system:serviceaccounts:kube-system"]
  resources: [{group: "", resources: ["nodes/status", "pods/status", "events"]}, {group: "coordination.k8s.io", resources: ["leases"]}, {group: "events.k8s.io", resources: ["events"]}]
- level: None
  users: ["system:kube-scheduler", "system:kube-controller-manager", "system:kube-proxy", "system:apiserver"]
  resources: [{group: "", resources: ["nodes/status", "pods/status", "events"]}, {group: "coordination.k8s.io", resources: ["leases"]}, {group: "events.k8s.io", resources: ["events"]}]
- level: None
  nonResourceURLs: ["/healthz*", "/livez*", "/readyz*", "/version", "/openapi/*", "/api", "/apis", "/api/*", "/apis/*"]
  verbs: ["get"]
- level: Metadata
`

var errBodies = errors.New("the levels Request and RequestResponse are not supported yet: use Metadata")

// loadPolicy reads a policy file, or the default policy when path is empty;
// begins says that some rule wants the stage RequestReceived.
func loadPolicy(path string) (evaluator k8saudit.PolicyRuleEvaluator, begins bool, err error) {
	text := []byte(DefaultPolicy)
	if path != "" {
		if text, err = os.ReadFile(path); err != nil {
			return nil, false, fmt.Errorf("read the audit policy: %w", err)
		}
	}
	p, err := policy.LoadPolicyFromBytes(text)
	if err != nil {
		return nil, false, fmt.Errorf("audit policy %s: %w", path, err)
	}
	if slices.ContainsFunc(p.Rules, func(r auditinternal.PolicyRule) bool { return r.Level.GreaterOrEqual(auditinternal.LevelRequest) }) {
		return nil, false, fmt.Errorf("audit policy %s: %w", path, errBodies)
	}
	begins = !slices.Contains(p.OmitStages, auditinternal.StageRequestReceived) && slices.ContainsFunc(p.Rules, func(r auditinternal.PolicyRule) bool {
		return r.Level != auditinternal.LevelNone && !slices.Contains(r.OmitStages, auditinternal.StageRequestReceived)
	})
	return policy.NewPolicyRuleEvaluator(p), begins, nil
}

// attributes are a record's in the words of the policy.
type attributes struct {
	authorizer.AttributesRecord
}

func attributesOf(r *Record) *attributes {
	return &attributes{authorizer.AttributesRecord{
		User: &user.DefaultInfo{Name: r.Identity.Name, Groups: r.Identity.Groups}, Verb: r.Verb, Namespace: r.Namespace, Name: r.Name,
		APIGroup: r.Resource.Group, APIVersion: r.Version, Resource: r.Resource.Resource, Subresource: r.Subresource, ResourceRequest: r.Path == "", Path: r.Path,
	}}
}

// Record is one thing that somebody asked for.
type Record struct {
	// ID is the request's, as its answer's Audit-ID header says.
	ID       string
	Identity txn.Identity
	// Verb is the API's for resources, else the method in lower case.
	Verb                 string
	Resource             schema.GroupResource
	Version, Subresource string
	Namespace, Name      string
	// Path is set for what is no resource.
	Path string
	// URI is what was asked for, with its query; empty in process.
	URI string
	// SourceIPs are the addresses that the request says it came by, the last
	// one being the connection's.
	SourceIPs []string
	// Stage is one of audit.k8s.io/v1's.
	Stage auditinternal.Stage
	// Code is the answer's; Reason of a refusal.
	Code   int
	Reason string
	// Decision is the authorizer's: "allow", "forbid", or empty when it was not
	// asked.
	Decision    string
	Annotations map[string]string
}
