package audit

import (
	"fmt"
	"os"
	"slices"

	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	k8saudit "k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
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

// rules is a policy, and what can be said of all of its rules at once.
type rules struct {
	k8saudit.PolicyRuleEvaluator
	begins bool // some rule wants the stage RequestReceived
	bodies bool // some rule wants objects
}

// loadPolicy reads a policy file, or the default policy when path is empty.
func loadPolicy(path string) (*rules, error) {
	text := []byte(DefaultPolicy)
	if path != "" {
		var err error
		if text, err = os.ReadFile(path); err != nil {
			return nil, fmt.Errorf("read the audit policy: %w", err)
		}
	}
	p, err := policy.LoadPolicyFromBytes(text)
	if err != nil {
		return nil, fmt.Errorf("audit policy %s: %w", path, err)
	}
	return &rules{
		PolicyRuleEvaluator: policy.NewPolicyRuleEvaluator(p),
		begins: !slices.Contains(p.OmitStages, auditinternal.StageRequestReceived) && slices.ContainsFunc(p.Rules, func(r auditinternal.PolicyRule) bool {
			return r.Level != auditinternal.LevelNone && !slices.Contains(r.OmitStages, auditinternal.StageRequestReceived)
		}),
		bodies: slices.ContainsFunc(p.Rules, func(r auditinternal.PolicyRule) bool { return r.Level.GreaterOrEqual(auditinternal.LevelRequest) }),
	}, nil
}

// attributes are a record's in the words of the policy.
type attributes struct {
	authorizer.AttributesRecord
}

// attributesOf names who really asks, whoever they ask as.
func attributesOf(r *Record) *attributes {
	who := &r.Identity
	if r.Real != nil {
		who = r.Real
	}
	return &attributes{authorizer.AttributesRecord{
		User: &user.DefaultInfo{Name: who.Name, Groups: who.Groups}, Verb: r.Verb, Namespace: r.Namespace, Name: r.Name,
		APIGroup: r.Resource.Group, APIVersion: r.Version, Resource: r.Resource.Resource, Subresource: r.Subresource, ResourceRequest: r.Path == "", Path: r.Path,
	}}
}
