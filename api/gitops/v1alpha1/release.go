package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +genclient
// +genclient:nonNamespaced
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// Release is one commit of one GitSource: what applying it changed and how it
// went. It is written in the same transaction as the objects. Its name is
// ReleaseName(source, commit).
type Release struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Which commit of which source.
	Spec ReleaseSpec `json:"spec"`
	// How it went.
	// +optional
	Status ReleaseStatus `json:"status,omitempty"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// ReleaseList is a list of Releases.
type ReleaseList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Release `json:"items"`
}

// ReleaseSpec says which commit of which source. It never changes.
type ReleaseSpec struct {
	// Source is the name of the GitSource.
	Source string `json:"source"`
	// Commit is the full commit id.
	Commit string `json:"commit"`
	// Ref that the commit was found on.
	// +optional
	Ref string `json:"ref,omitempty"`
	// Author as "Jane Doe <jane@example.org>".
	// +optional
	Author string `json:"author,omitempty"`
	// Committer in the same form.
	// +optional
	Committer string `json:"committer,omitempty"`
	// CommitTime is the committer's time.
	// +optional
	CommitTime *metav1.Time `json:"commitTime,omitempty"`
	// Message is the commit's message, cut at 4 KiB.
	// +optional
	Message string `json:"message,omitempty"`
	// Parent is the commit that was applied before.
	// +optional
	Parent string `json:"parent,omitempty"`
}

// ReleasePhase is how far a Release has come.
//
//	Planned ─► Applying ─► Progressing ─► Healthy
//	   │           │            └───────► Failed, or Quarantined ─► RolledBack
//	   └─► Refused └─► Failed
//	any of the first four ─► Superseded, when a newer commit is applied
//
// +enum
type ReleasePhase string

const (
	// ReleasePlanned says that the plan is made and nothing is written.
	ReleasePlanned ReleasePhase = "Planned"
	// ReleaseApplying says that the stages are being written.
	ReleaseApplying ReleasePhase = "Applying"
	// ReleaseProgressing says that all is written and becoming healthy.
	ReleaseProgressing ReleasePhase = "Progressing"
	// ReleaseHealthy says that every object is healthy.
	ReleaseHealthy ReleasePhase = "Healthy"
	// ReleaseFailed says that an object failed or did not become healthy in time.
	ReleaseFailed ReleasePhase = "Failed"
	// ReleaseRefused says that nothing was written: the commit does not render,
	// is not valid, or is held by a guard.
	ReleaseRefused ReleasePhase = "Refused"
	// ReleaseSuperseded says that a newer commit took its place.
	ReleaseSuperseded ReleasePhase = "Superseded"
	// ReleaseRolledBack says that the set before it was applied again.
	ReleaseRolledBack ReleasePhase = "RolledBack"
	// ReleaseQuarantined says that it did not become healthy and is being taken
	// back; it will not be applied again by itself.
	ReleaseQuarantined ReleasePhase = "Quarantined"
)

// ReleaseStatus is how it went.
type ReleaseStatus struct {
	// Phase is how far it has come.
	// +optional
	Phase ReleasePhase `json:"phase,omitempty"`
	// Stage and Stages count the transactions of a staged apply, as in
	// "Applying (2/3)".
	// +optional
	Stage int32 `json:"stage,omitempty"`
	// +optional
	Stages int32 `json:"stages,omitempty"`
	// PlanDigest is the digest of the plan that was applied.
	// +optional
	PlanDigest string `json:"planDigest,omitempty"`
	// PushedBy is who has pushed the commit, as the forge says by the source's
	// webhook. Empty: nobody has told.
	// +optional
	PushedBy string `json:"pushedBy,omitempty"`
	// ObservedTime is when the commit was first seen.
	// +optional
	ObservedTime *metav1.Time `json:"observedTime,omitempty"`
	// StartedTime is when it was begun: the source's timeout counts from then.
	// +optional
	StartedTime *metav1.Time `json:"startedTime,omitempty"`
	// AppliedTime is when its last transaction was committed.
	// +optional
	AppliedTime *metav1.Time `json:"appliedTime,omitempty"`
	// FinishedTime is when it became Healthy, Failed or Refused.
	// +optional
	FinishedTime *metav1.Time `json:"finishedTime,omitempty"`
	// Summary counts the operations.
	// +optional
	Summary OperationCounts `json:"summary,omitempty"`
	// Outcomes are the objects that were changed; unchanged ones are left out.
	// At most 200, the rest is in the summary.
	// +optional
	// +listType=atomic
	Outcomes []ObjectOutcome `json:"outcomes,omitempty"`
	// Problems are what kept it from being applied or healthy; at most 20.
	// +optional
	// +listType=atomic
	Problems []Problem `json:"problems,omitempty"`
	// Override is present when somebody has had it applied in spite of windows.
	// +optional
	Override *Override `json:"override,omitempty"`
	// Approval is the consent that it was applied with, the newest one of
	// several; absent where none was needed.
	// +optional
	Approval *Approval `json:"approval,omitempty"`
	// Approvals are all of them, when several people had to consent.
	// +optional
	// +listType=atomic
	Approvals []Approval `json:"approvals,omitempty"`
	// Message is one line about the phase.
	// +optional
	Message string `json:"message,omitempty"`
	// Evidence is what was known of the objects that failed: their newest
	// events and the last lines of their containers.
	// +optional
	// +listType=atomic
	Evidence []Evidence `json:"evidence,omitempty"`
	// Hooks are those of the commit, in the order in which they are run.
	// +optional
	// +listType=atomic
	Hooks []HookRun `json:"hooks,omitempty"`
	// RolledBackTo is the commit whose objects took its place.
	// +optional
	RolledBackTo string `json:"rolledBackTo,omitempty"`
	// RevertCommit is the commit that was pushed to restore the source's paths.
	// +optional
	RevertCommit string `json:"revertCommit,omitempty"`
	// RevertRef is the reference that it was pushed to.
	// +optional
	RevertRef string `json:"revertRef,omitempty"`
}

// HookStage is when a hook is run.
// +enum
type HookStage string

const (
	// HookPre runs before anything of the commit is written, and has to succeed.
	HookPre HookStage = "pre"
	// HookSync runs when all of the commit is written, beside its becoming
	// healthy.
	HookSync HookStage = "sync"
	// HookPost runs when every object is healthy.
	HookPost HookStage = "post"
	// HookOnFailure runs when the commit has failed, after the way back.
	HookOnFailure HookStage = "on-failure"
)

const (
	// HookPreRollback runs before the cluster goes back to the commit that has it,
	// which waits for its end and not for its success.
	HookPreRollback HookStage = "pre-rollback"
	// HookPostRollback runs when the cluster has gone back and is healthy.
	HookPostRollback HookStage = "post-rollback"
)

// HookPhase is how far a hook has come.
// +enum
type HookPhase string

const (
	// HookPending says that it was not run yet.
	HookPending HookPhase = "Pending"
	// HookRunning says that its object exists and has not come to an end.
	HookRunning HookPhase = "Running"
	// HookSucceeded says that it has come to a good end.
	HookSucceeded HookPhase = "Succeeded"
	// HookFailed says that it has not.
	HookFailed HookPhase = "Failed"
	// HookSkipped says that it is not run for this commit.
	HookSkipped HookPhase = "Skipped"
)

// HookRun is one hook of a commit. Each is run once.
type HookRun struct {
	// Object, as "jobs.batch shop/migrate".
	Object string `json:"object"`
	// Stage is when it is run.
	Stage HookStage `json:"stage"`
	// Weight orders the hooks of a stage, the lowest first.
	// +optional
	Weight int32 `json:"weight,omitempty"`
	// Origin is where it is written down, as "jobs/migrate.yaml:1".
	// +optional
	Origin string `json:"origin,omitempty"`
	// Phase is how far it has come.
	Phase HookPhase `json:"phase"`
	// StartedTime is when its object was made.
	// +optional
	StartedTime *metav1.Time `json:"startedTime,omitempty"`
	// FinishedTime is when it succeeded or failed.
	// +optional
	FinishedTime *metav1.Time `json:"finishedTime,omitempty"`
	// Message says why it failed or was skipped.
	// +optional
	Message string `json:"message,omitempty"`
	// Lines are the last ones of a failed one's containers; at most 20.
	// +optional
	// +listType=atomic
	Lines []string `json:"lines,omitempty"`
}

// Evidence is what is known of an object that failed.
type Evidence struct {
	// Object, as "deployments.apps shop/web" or "pods shop/web-5d9f".
	Object string `json:"object"`
	// Container whose lines they are; empty for events.
	// +optional
	Container string `json:"container,omitempty"`
	// Lines, the newest last; at most 20.
	// +listType=atomic
	Lines []string `json:"lines"`
}

// OperationCounts counts the operations of a plan.
type OperationCounts struct {
	// +optional
	Created int32 `json:"created,omitempty"`
	// +optional
	Changed int32 `json:"changed,omitempty"`
	// Replaced objects are deleted and created anew, because fields change that
	// cannot be changed.
	// +optional
	Replaced int32 `json:"replaced,omitempty"`
	// +optional
	Deleted int32 `json:"deleted,omitempty"`
	// Moved objects are written down in another place than before; they may be
	// changed or unchanged as well.
	// +optional
	Moved int32 `json:"moved,omitempty"`
	// +optional
	Unchanged int32 `json:"unchanged,omitempty"`
}

// String gives "2 created, 1 changed, 0 deleted, 117 unchanged"; replaced
// objects are named where there are any.
func (c OperationCounts) String() string {
	replaced := ""
	if c.Replaced > 0 {
		replaced = itoa(c.Replaced) + " replaced, "
	}
	return itoa(c.Created) + " created, " + itoa(c.Changed) + " changed, " + replaced + itoa(c.Deleted) + " deleted, " + itoa(c.Unchanged) + " unchanged"
}

// ObjectOutcome is what a commit does to one object.
type ObjectOutcome struct {
	// Object, as "deployments.apps shop/web".
	Object string `json:"object"`
	// Operation is created, updated, replaced, deleted, terminating, released
	// (left to another source) or unchanged.
	Operation string `json:"operation"`
	// Origin is where it is written down, as "apps/web.yaml:12".
	// +optional
	Origin string `json:"origin,omitempty"`
	// MovedFrom is the file that it was written down in before.
	// +optional
	MovedFrom string `json:"movedFrom,omitempty"`
	// Fields that change; values of Secrets are masked. Only in Plans.
	// +optional
	// +listType=atomic
	Fields []FieldChange `json:"fields,omitempty"`
	// Error is why the change cannot be made.
	// +optional
	Error string `json:"error,omitempty"`
}

// FieldChange is one field before and after.
type FieldChange struct {
	// Path of the field, as "spec.replicas" or `spec.containers[name="web"].image`.
	Path string `json:"path"`
	// Before as compact JSON; empty when the field was absent.
	// +optional
	Before string `json:"before,omitempty"`
	// After as compact JSON; empty when the field is absent.
	// +optional
	After string `json:"after,omitempty"`
}

// ReleaseName is the name of the Release of a source's commit.
func ReleaseName(source, commit string) string {
	return source + "-" + commit[:min(len(commit), 12)]
}
