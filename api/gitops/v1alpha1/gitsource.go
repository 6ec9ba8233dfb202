package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +genclient
// +genclient:nonNamespaced
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// GitSource is a git repository, or a part of one, whose content is what the
// cluster shall look like. Every commit on its ref is rendered, planned and
// applied as one transaction.
type GitSource struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What to follow and how.
	Spec GitSourceSpec `json:"spec"`
	// What was seen and done.
	// +optional
	Status GitSourceStatus `json:"status,omitempty"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// GitSourceList is a list of GitSources.
type GitSourceList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []GitSource `json:"items"`
}

// GitSourceSpec says what to follow and how.
type GitSourceSpec struct {
	// URL of the repository: https://host/path, ssh://user@host[:port]/path,
	// user@host:path, file:///path or an absolute path on the server. At a path
	// lies a repository (bare or with a working tree) or a file made by "git
	// bundle". hosted:NAME is a repository that the server keeps itself, made
	// when it is named first. Submodules are not followed.
	URL string `json:"url"`
	// Ref is what to follow in the repository. Empty: the branch that the
	// repository's HEAD names.
	// +optional
	Ref GitReference `json:"ref,omitempty"`
	// Paths are the directories in the repository that are rendered, relative
	// to its root. Empty: the root.
	// +optional
	// +listType=atomic
	Paths []string `json:"paths,omitempty"`
	// Ignore are patterns, as in a .gitignore file at the repository's root, of
	// files and directories that are not rendered. A kustomization or a chart
	// that names an ignored file takes it all the same.
	// +optional
	// +listType=atomic
	Ignore []string `json:"ignore,omitempty"`
	// Fallback is the path of a git bundle on the server's machine that is read
	// while a remote repository cannot be reached: its branches and tags go
	// forward by it, and never back. "headway bundle apply" writes it.
	// +optional
	Fallback string `json:"fallback,omitempty"`
	// Interval is how often a remote repository is asked for new commits; a
	// tenth more or less, so that many sources do not ask at once. Of several
	// sources with the same repository the shortest counts. Repositories and
	// bundles on the server's own disk are watched and never polled.
	// Default 60s, at least 5s.
	// +optional
	Interval *metav1.Duration `json:"interval,omitempty"`
	// SecretRef names the Secret with the credentials for a remote. Its keys
	// for https are "username" and "password", "token" (a password that goes
	// with any user name, as the forges want it), "bearerToken", "tls.crt" and
	// "tls.key" (a client certificate), "ca.crt" (in place of caBundle), "proxy"
	// (the URL of a proxy) and "noProxy" (hosts that are reached without it, as
	// in the variable NO_PROXY). For ssh they are "identity" (a private key),
	// "password" (of the key, if it has one), "known_hosts", which must name
	// the host, "proxy" (socks5) and "noProxy". Credentials are sent to the host
	// of the URL, and never to one that it redirects to or to a proxy.
	// +optional
	SecretRef *SecretReference `json:"secretRef,omitempty"`
	// CABundle is PEM with the certificates that a remote's certificate is
	// checked against instead of the system's.
	// +optional
	CABundle []byte `json:"caBundle,omitempty"`
	// Verification, when present, has only commits applied that were signed by
	// somebody it names and descend from the one applied before.
	// +optional
	Verification *VerificationSpec `json:"verification,omitempty"`
	// Webhook, when present, has a forge tell of pushes at /hooks/NAME of the
	// API server, so that they are not waited for.
	// +optional
	Webhook *WebhookSpec `json:"webhook,omitempty"`
	// Render says how files become objects. Default auto.
	// +optional
	Render RenderMode `json:"render,omitempty"`
	// Helm says how the charts that are found are rendered.
	// +optional
	Helm *HelmSpec `json:"helm,omitempty"`
	// Decryption says which keys open the encrypted files of the repository.
	// +optional
	Decryption *DecryptionSpec `json:"decryption,omitempty"`
	// Variables are put into the files that ask for it with the comment
	// "# headway: substitute" before their first line: ${name} becomes the
	// variable's value, and $${ stands for ${. A name that is not declared is an
	// error. Of themselves there are ${cluster_name} and ${source_name}.
	// +optional
	// +listType=map
	// +listMapKey=name
	Variables []Variable `json:"variables,omitempty"`
	// TargetNamespace is the namespace of every namespaced object that names
	// none. Default "default".
	// +optional
	TargetNamespace string `json:"targetNamespace,omitempty"`
	// ServiceAccountName is the account that the source's objects are planned,
	// written, corrected and deleted as, so that its rights decide about each of
	// them. Empty: the engine's own, which may do everything.
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
	// ServiceAccountNamespace is where the account is. Default: the target
	// namespace.
	// +optional
	ServiceAccountNamespace string `json:"serviceAccountNamespace,omitempty"`
	// Tenants share the repository: each has files, an account and namespaces of
	// his own, and no commit of his reaches beyond. A commit is one transaction
	// all the same: what one tenant's files may not do holds the commit back.
	// +optional
	// +listType=map
	// +listMapKey=name
	Tenants []Tenant `json:"tenants,omitempty"`
	// Prune deletes objects that a commit no longer contains. Default true.
	// +optional
	Prune *bool `json:"prune,omitempty"`
	// Timeout is how long the objects of a commit may take to become healthy.
	// Default 10m.
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// Health says when a commit counts as healthy, and what happens when it
	// does not become so in time.
	// +optional
	Health HealthSpec `json:"health,omitempty"`
	// Pin, when present, keeps the cluster at one commit whatever the ref says,
	// until it is taken away.
	// +optional
	Pin *Pin `json:"pin,omitempty"`
	// Drift says what happens when somebody changes what git says.
	// +optional
	Drift DriftSpec `json:"drift,omitempty"`
	// DependsOn has the source's commits wait until all of these are there. What
	// is applied already stays.
	// +optional
	// +listType=atomic
	DependsOn []Dependency `json:"dependsOn,omitempty"`
	// Windows say when commits are applied; until then they wait. Besides, the
	// windows in the repository's file .headway/windows.yaml count.
	// +optional
	// +listType=atomic
	Windows []Window `json:"windows,omitempty"`
	// Suspend, when present, stops applying commits. Drift is still recorded,
	// but not corrected.
	// +optional
	Suspend *Suspension `json:"suspend,omitempty"`
	// Guards hold commits back that destroy much.
	// +optional
	Guards GuardsSpec `json:"guards,omitempty"`
	// Promotion has the source follow another environment instead of every
	// commit of its ref.
	// +optional
	Promotion *PromotionSpec `json:"promotion,omitempty"`
	// Approval says which commits wait until somebody has consented to what they
	// would do.
	// +optional
	Approval ApprovalSpec `json:"approval,omitempty"`
	// Previews says which references are planned, as pull requests are.
	// +optional
	Previews PreviewsSpec `json:"previews,omitempty"`
	// Notifications say who hears of what happens to the source.
	// +optional
	// +listType=map
	// +listMapKey=name
	Notifications []Notification `json:"notifications,omitempty"`
	// Reports says where the state of the cluster is written back to.
	// +optional
	Reports ReportsSpec `json:"reports,omitempty"`
	// Forge, when present, has a forge show what becomes of commits and what
	// pull requests would change.
	// +optional
	Forge *ForgeSpec `json:"forge,omitempty"`
	// Environment, when present, says that the source is the environment of a
	// reference of another one: no key opens its files, what has no place in its
	// target namespace is left out, rewritten history is followed, and with the
	// GitSource its objects and the namespace are deleted.
	// +optional
	Environment *EnvironmentSource `json:"environment,omitempty"`
}

// GitReference names what to follow. At most one field may be set.
type GitReference struct {
	// Branch, such as "main".
	// +optional
	Branch string `json:"branch,omitempty"`
	// Tag, such as "v1.4.2".
	// +optional
	Tag string `json:"tag,omitempty"`
	// Semver is a range of versions, such as ">=1.4.0 <2.0.0" or "1.x". The tag
	// with the highest version in it is followed; pre-releases only where the
	// range names one.
	// +optional
	Semver string `json:"semver,omitempty"`
	// Commit is a full commit id of 40 hexadecimal digits.
	// +optional
	Commit string `json:"commit,omitempty"`
	// Name is any reference in full, such as "refs/pull/7/head".
	// +optional
	Name string `json:"name,omitempty"`
}

// SecretReference names a Secret.
type SecretReference struct {
	// Namespace of the Secret.
	Namespace string `json:"namespace"`
	// Name of the Secret.
	Name string `json:"name"`
}

// DriftPolicy is what happens when somebody changes what git says.
// +enum
type DriftPolicy string

const (
	// DriftCorrect records who changed what, warns the writer and puts it back
	// at once.
	DriftCorrect DriftPolicy = "correct"
	// DriftReport records who changed what and leaves it.
	DriftReport DriftPolicy = "report"
	// DriftWarn does the same and warns the writer.
	DriftWarn DriftPolicy = "warn"
	// DriftDeny refuses the write and names the file in git. Writes of the
	// cluster's own components are let through and corrected.
	DriftDeny DriftPolicy = "deny"
	// DriftAllow leaves the fields to others: nothing is recorded or corrected,
	// and commits do not reset them either.
	DriftAllow DriftPolicy = "allow"
)

// DriftSpec says what happens when somebody changes what git says.
type DriftSpec struct {
	// Policy for all that no rule speaks of: correct (the default), report,
	// warn or deny.
	// +optional
	Policy DriftPolicy `json:"policy,omitempty"`
	// Rules say it for single files, objects and fields. The first one that
	// matches counts.
	// +optional
	// +listType=atomic
	Rules []DriftRule `json:"rules,omitempty"`
}

// DriftRule says what happens when somebody changes certain things. What a
// rule does not restrict it matches; patterns may contain * for any part.
type DriftRule struct {
	// Policy is correct, report, warn, deny or allow.
	Policy DriftPolicy `json:"policy"`
	// Paths are patterns of files in the repository, as "apps/*" for all that
	// lies below apps.
	// +optional
	// +listType=atomic
	Paths []string `json:"paths,omitempty"`
	// Kinds, as "Deployment".
	// +optional
	// +listType=atomic
	Kinds []string `json:"kinds,omitempty"`
	// Namespaces are patterns of namespaces.
	// +optional
	// +listType=atomic
	Namespaces []string `json:"namespaces,omitempty"`
	// Names are patterns of objects' names.
	// +optional
	// +listType=atomic
	Names []string `json:"names,omitempty"`
	// Fields with all that lies below them, as "spec.replicas",
	// "metadata.annotations" or `spec.template.spec.containers[name="web"].image`;
	// [*] stands for every item of a list. Without fields a rule is about the
	// whole object, and its deletion too.
	// +optional
	// +listType=atomic
	Fields []string `json:"fields,omitempty"`
	// Until ends the rule by itself; what it let through is put back then.
	// +optional
	Until *metav1.Time `json:"until,omitempty"`
	// Reason for people.
	// +optional
	Reason string `json:"reason,omitempty"`
}

// HealthSpec says when a commit counts as healthy, and what happens when it
// does not become so in time.
type HealthSpec struct {
	// OnFailure is rollback (the default) or hold.
	// +optional
	OnFailure FailurePolicy `json:"onFailure,omitempty"`
	// Revert says whether a rollback is written down in git too. Default none.
	// +optional
	Revert RevertMode `json:"revert,omitempty"`
	// Checks judge kinds whose health cannot be told from conditions that
	// follow Kubernetes' conventions.
	// +optional
	// +listType=atomic
	Checks []HealthCheck `json:"checks,omitempty"`
}

// FailurePolicy is what happens to a commit that does not become healthy.
// +enum
type FailurePolicy string

const (
	// FailureRollback brings the last healthy set back and quarantines the
	// commit: it is not applied again until its Release is deleted. Without a
	// healthy set before it, it is held.
	FailureRollback FailurePolicy = "rollback"
	// FailureHold leaves the commit applied and says so.
	FailureHold FailurePolicy = "hold"
)

// RevertMode is how a rollback is written down in git.
// +enum
type RevertMode string

const (
	// RevertNone writes no commit.
	RevertNone RevertMode = "none"
	// RevertBranch pushes a commit that restores the source's paths to the
	// branch headway-revert/<source>-<commit>, to be proposed by a person.
	RevertBranch RevertMode = "branch"
	// RevertCommit pushes it on top of the branch that is followed.
	RevertCommit RevertMode = "commit"
)

// HealthCheck judges the objects of one kind. At least one of its expressions
// is set; they are CEL over the variable "object" and give a boolean. An error
// in an expression, such as a field that is not there yet, counts as false.
type HealthCheck struct {
	// APIVersion of the objects, as "example.com/v1".
	APIVersion string `json:"apiVersion"`
	// Kind of the objects.
	Kind string `json:"kind"`
	// Healthy is true for a healthy object.
	// +optional
	Healthy string `json:"healthy,omitempty"`
	// Failed is true for an object that will not become healthy by itself.
	// +optional
	Failed string `json:"failed,omitempty"`
}

// Pin keeps the cluster at one commit.
type Pin struct {
	// Commit is the full id of a commit in the repository.
	Commit string `json:"commit"`
	// AsNew has the commit go through what one goes through that comes on the
	// ref: it is rendered and verified, it waits for windows, dependencies and
	// approvals, guards may hold it, and when it does not become healthy the
	// cluster goes back to where it was. Otherwise the commit is restored as it
	// was when it was applied, whatever those say.
	// +optional
	AsNew bool `json:"asNew,omitempty"`
	// Reason for people.
	// +optional
	Reason string `json:"reason,omitempty"`
	// By is who asked for it.
	// +optional
	By string `json:"by,omitempty"`
}

// Suspension says that, why and for how long a source is suspended.
type Suspension struct {
	// Reason for people.
	// +optional
	Reason string `json:"reason,omitempty"`
	// By is who asked for it.
	// +optional
	By string `json:"by,omitempty"`
	// Until ends the suspension by itself; without it, it lasts until it is
	// taken away.
	// +optional
	Until *metav1.Time `json:"until,omitempty"`
}

// GuardsSpec holds commits back that destroy much. Such a commit is applied
// when its message consents with a trailer: "Allow-Delete: all", or one
// trailer for each object as "Allow-Delete: deployment/shop/web".
type GuardsSpec struct {
	// MaxDeletePercent is the share of the source's inventory that one commit
	// may delete without consent. Default 50. 100 switches the share off; a
	// commit that deletes everything wants consent all the same.
	// +optional
	MaxDeletePercent *int32 `json:"maxDeletePercent,omitempty"`
	// MinDeletes is the number of deletions below which the share is not
	// looked at. Default 10.
	// +optional
	MinDeletes *int32 `json:"minDeletes,omitempty"`
}

// The condition types of a GitSource.
const (
	// ConditionFetched says that the ref could be read.
	ConditionFetched = "Fetched"
	// ConditionReady says that the newest commit is applied.
	ConditionReady = "Ready"
	// ConditionVerified says that the newest commit is signed as the source's
	// verification asks for. Absent where it asks for nothing.
	ConditionVerified = "Verified"
	// ConditionHealthy says that every object of the applied commit is healthy.
	ConditionHealthy = "Healthy"
	// ConditionReported says that reports are written, and where. Absent before
	// the first one.
	ConditionReported = "Reported"
	// ConditionForge says that the forge of spec.forge takes what it is told.
	// Absent where there is none.
	ConditionForge = "Forge"
	// ConditionStalled says that nothing will go on without a new commit or a
	// change of the GitSource.
	ConditionStalled = "Stalled"
)

// AnnotationAllowRewrite on a GitSource names the one commit that may be
// applied although it does not descend from the applied one.
const AnnotationAllowRewrite = GroupName + "/allow-rewrite"

// AnnotationFetch on a GitSource has its remote asked at once whenever the
// value changes; a time is a good value. The status says in LastHandledFetch
// when that is done.
const AnnotationFetch = GroupName + "/fetch"

// AnnotationPushed on a GitSource is what its webhook has told of the newest
// pushes, the newest first: a line "<commit> <who>" for each.
const AnnotationPushed = GroupName + "/pushed"

// The health of the objects of an applied commit.
const (
	HealthUnknown     = "Unknown"
	HealthProgressing = "Progressing"
	HealthHealthy     = "Healthy"
	HealthDegraded    = "Degraded"
)

// GitSourceStatus is what was seen and done.
type GitSourceStatus struct {
	// ObservedGeneration is the generation of the spec that the status is of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// ObservedRef is the full name of the reference that is followed.
	// +optional
	ObservedRef string `json:"observedRef,omitempty"`
	// ObservedCommit is the newest commit that was seen on the ref; with
	// spec.promotion the newest that may follow.
	// +optional
	ObservedCommit string `json:"observedCommit,omitempty"`
	// ObservedTime is when it was seen.
	// +optional
	ObservedTime *metav1.Time `json:"observedTime,omitempty"`
	// LastHandledFetch is the value of the annotation AnnotationFetch that was
	// acted on last: the repository was asked since, and the status is of what
	// it answered.
	// +optional
	LastHandledFetch string `json:"lastHandledFetch,omitempty"`
	// AppliedCommit is the commit whose objects are in the cluster.
	// +optional
	AppliedCommit string `json:"appliedCommit,omitempty"`
	// AppliedTime is when it was applied.
	// +optional
	AppliedTime *metav1.Time `json:"appliedTime,omitempty"`
	// HealthyCommit is the last commit whose objects were all healthy.
	// +optional
	HealthyCommit string `json:"healthyCommit,omitempty"`
	// VerifiedCommit is the newest commit whose signature was found good; only
	// what descends from it is applied.
	// +optional
	VerifiedCommit string `json:"verifiedCommit,omitempty"`
	// VerifiedBy is who signed it, and with which key.
	// +optional
	VerifiedBy string `json:"verifiedBy,omitempty"`
	// Health is Healthy, Progressing, Degraded or Unknown.
	// +optional
	Health string `json:"health,omitempty"`
	// Objects is how many objects the inventory has.
	// +optional
	Objects int32 `json:"objects,omitempty"`
	// DriftCount is how many drift records are kept.
	// +optional
	DriftCount int32 `json:"driftCount,omitempty"`
	// LastDriftTime is when the newest of them was seen.
	// +optional
	LastDriftTime *metav1.Time `json:"lastDriftTime,omitempty"`
	// LiveWriters are people who have written to the source's objects in the
	// cluster, the newest last, at most 100. Each field is of who wrote it last.
	// +optional
	// +listType=atomic
	LiveWriters []LiveWriter `json:"liveWriters,omitempty"`
	// Frozen is present while windows hold the observed commit back.
	// +optional
	Frozen *Freeze `json:"frozen,omitempty"`
	// Promotion is how far the source follows another environment.
	// +optional
	Promotion *PromotionStatus `json:"promotion,omitempty"`
	// Awaits is present while the observed commit waits for consent.
	// +optional
	Awaits *AwaitedApproval `json:"awaits,omitempty"`
	// Approvals are the consents that were given and not used yet. They are
	// written through the subresource "approval" only.
	// +optional
	// +listType=map
	// +listMapKey=digest
	Approvals []Approval `json:"approvals,omitempty"`
	// Environments are those of spec.previews.environments, the newest first.
	// +optional
	// +listType=map
	// +listMapKey=ref
	Environments []EnvironmentStatus `json:"environments,omitempty"`
	// LeftOut is what an environment's commit has and the environment does not;
	// at most 20.
	// +optional
	// +listType=atomic
	LeftOut []Problem `json:"leftOut,omitempty"`
	// Problems are what keeps the observed commit from being applied or
	// healthy; at most 20.
	// +optional
	// +listType=atomic
	Problems []Problem `json:"problems,omitempty"`
	// Conditions are Fetched, Verified, Ready, Healthy, Reported, Forge and
	// Stalled.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// LiveWriter is somebody who has written fields of an object in the cluster.
type LiveWriter struct {
	// Object, as "deployments.apps shop/web".
	Object string `json:"object"`
	// User as the cluster knows him, and who acted for him.
	User string `json:"user"`
	// +optional
	Impersonator string `json:"impersonator,omitempty"`
	// Manager is the field manager that he used.
	// +optional
	Manager string `json:"manager,omitempty"`
	// Time of the write.
	Time metav1.Time `json:"time"`
	// Fields that he has written, as "spec.replicas"; at most 20.
	// +listType=atomic
	Fields []string `json:"fields"`
}

// Problem is one thing that is wrong, as exactly as it is known.
type Problem struct {
	// File in the repository.
	// +optional
	File string `json:"file,omitempty"`
	// Line in the file, from 1.
	// +optional
	Line int32 `json:"line,omitempty"`
	// Object, as "deployments.apps shop/web".
	// +optional
	Object string `json:"object,omitempty"`
	// Message says what is wrong and, where it can, what to do.
	Message string `json:"message"`
}

// String gives "apps/web.yaml:12: deployments.apps shop/web: message".
func (p Problem) String() string {
	out := p.Message
	if p.Object != "" {
		out = p.Object + ": " + out
	}
	if origin := Origin(p.File, p.Line); origin != "" {
		out = origin + ": " + out
	}
	return out
}
