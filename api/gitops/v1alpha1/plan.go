package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +genclient
// +genclient:nonNamespaced
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// Plan is what a branch, tag, pull request or commit would change if a
// GitSource followed it, or what lies between two of them. Nothing is written
// but the Plan itself.
type Plan struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What to plan.
	Spec PlanSpec `json:"spec"`
	// What it would change.
	// +optional
	Status PlanStatus `json:"status,omitempty"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// PlanList is a list of Plans.
type PlanList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Plan `json:"items"`
}

// PlanSpec says what to plan.
type PlanSpec struct {
	// Source is the name of the GitSource whose settings and inventory count.
	Source string `json:"source"`
	// Ref to plan in the source's repository.
	Ref GitReference `json:"ref"`
	// Base, when present, is what Ref is compared with instead of the cluster:
	// the objects that both render to, as they were kept where they were applied.
	// Nothing is judged, so that the plan has no digest, hooks or impact.
	// +optional
	Base *GitReference `json:"base,omitempty"`
}

// PlanStatus is what would be changed.
type PlanStatus struct {
	// Commit that was planned.
	// +optional
	Commit string `json:"commit,omitempty"`
	// Base is the applied commit at that time, or that of spec.base.
	// +optional
	Base string `json:"base,omitempty"`
	// Revision of the store that it was planned on.
	// +optional
	Revision string `json:"revision,omitempty"`
	// Digest over the desired objects, the operations and the revisions of
	// what is replaced or deleted; approvals bind to it.
	// +optional
	Digest string `json:"digest,omitempty"`
	// Summary counts the operations.
	// +optional
	Summary OperationCounts `json:"summary,omitempty"`
	// Outcomes per object; unchanged ones are left out.
	// +optional
	// +listType=atomic
	Outcomes []ObjectOutcome `json:"outcomes,omitempty"`
	// Sealed are the encrypted files that were not looked into, as of references
	// that anybody may push. What the applied ones hold counts as unchanged.
	// +optional
	// +listType=atomic
	Sealed []SealedFile `json:"sealed,omitempty"`
	// Hooks that the commit would run, in order.
	// +optional
	// +listType=atomic
	Hooks []PlannedHook `json:"hooks,omitempty"`
	// Frozen says what would hold the commit back now, and until when.
	// +optional
	Frozen string `json:"frozen,omitempty"`
	// Approval says why the commit has to be consented to, or by whom it was.
	// +optional
	Approval string `json:"approval,omitempty"`
	// AsksApproval is why alone; empty where nobody has to consent.
	// +optional
	AsksApproval string `json:"asksApproval,omitempty"`
	// Impact is what the changes set in motion.
	// +optional
	Impact *PlanImpact `json:"impact,omitempty"`
	// Problems that would keep it from being applied.
	// +optional
	// +listType=atomic
	Problems []Problem `json:"problems,omitempty"`
	// Conditions: Ready.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// SealedFile is an encrypted file that was not looked into.
type SealedFile struct {
	// File in the repository.
	File string `json:"file"`
	// Changed says that it is not as it is in the applied commit.
	// +optional
	Changed bool `json:"changed,omitempty"`
}

// String gives "secrets/db.yaml: changed".
func (f SealedFile) String() string {
	if f.Changed {
		return f.File + ": changed"
	}
	return f.File + ": as it is applied"
}

// PlannedHook is a hook that a commit would run.
type PlannedHook struct {
	// Object, as "jobs.batch shop/migrate".
	Object string `json:"object"`
	// Stage is when it would be run.
	Stage HookStage `json:"stage"`
	// Weight orders the hooks of a stage, the lowest first.
	// +optional
	Weight int32 `json:"weight,omitempty"`
	// Origin is where it is written down, as "jobs/migrate.yaml:1".
	// +optional
	Origin string `json:"origin,omitempty"`
}

// PlanImpact is what the changes of a plan set in motion, so that a person can
// tell a large one from a small one.
type PlanImpact struct {
	// Rollouts are the workloads whose pods are replaced.
	// +optional
	// +listType=atomic
	Rollouts []Rollout `json:"rollouts,omitempty"`
	// Restarts is how many pods that are in all.
	// +optional
	Restarts int32 `json:"restarts,omitempty"`
	// Lost are deletions that take more than the object with them: Namespaces,
	// PersistentVolumeClaims and CustomResourceDefinitions.
	// +optional
	// +listType=atomic
	Lost []string `json:"lost,omitempty"`
	// MissingImages are images of the changed workloads that no node says it
	// has.
	// +optional
	// +listType=atomic
	MissingImages []string `json:"missingImages,omitempty"`
	// Irreversible is what going back to the commit before would not bring
	// back.
	// +optional
	// +listType=atomic
	Irreversible []string `json:"irreversible,omitempty"`
	// Quotas are the limits of the ResourceQuotas that count what changes, with
	// their use before and after.
	// +optional
	// +listType=atomic
	Quotas []QuotaUse `json:"quotas,omitempty"`
}

// QuotaUse is one limit of a ResourceQuota.
type QuotaUse struct {
	// Object, as "resourcequotas shop/compute".
	Object string `json:"object"`
	// Resource that is limited, as "requests.cpu" or "count/secrets".
	Resource string `json:"resource"`
	// Hard is the limit.
	Hard resource.Quantity `json:"hard"`
	// Before is what is used now.
	Before resource.Quantity `json:"before"`
	// After is what would be used.
	After resource.Quantity `json:"after"`
	// Exceeded says that the limit would be broken.
	// +optional
	Exceeded bool `json:"exceeded,omitempty"`
}

// String gives "resourcequotas shop/compute: requests.cpu from 2 to 5 of 4".
func (q QuotaUse) String() string {
	return q.Object + ": " + q.Resource + " from " + q.Before.String() + " to " + q.After.String() + " of " + q.Hard.String()
}

// Rollout is a workload whose pods are replaced.
type Rollout struct {
	// Object, as "deployments.apps shop/web".
	Object string `json:"object"`
	// Pods that it has now.
	Pods int32 `json:"pods"`
}
