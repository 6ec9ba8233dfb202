package v1alpha1

// The annotations of objects in git. docs/ordering.md says which words of Helm
// and of Argo CD are understood besides.
const (
	// AnnotationWave puts an object into a wave, a whole number, 0 without it:
	// it is written when every object of lower waves is healthy.
	AnnotationWave = GroupName + "/wave"
	// AnnotationHook makes an object a hook: it is no part of what the source
	// has, and run once for each commit, at the stages of a comma-separated list
	// of HookStages.
	AnnotationHook = GroupName + "/hook"
	// AnnotationHookWeight orders the hooks of a stage: a whole number, the
	// lowest first, 0 without it.
	AnnotationHookWeight = GroupName + "/hook-weight"
	// AnnotationHookDelete says when a hook's object is deleted: a comma-separated
	// list of the HookDelete words.
	AnnotationHookDelete = GroupName + "/hook-delete"
	// AnnotationHookOf is put on the objects of hooks: the name of the source.
	AnnotationHookOf = GroupName + "/hook-of"
	// AnnotationHookRun is put on the objects of hooks: the commit and the stage
	// that they were made for, as "4f3c2b1a0d9e/pre".
	AnnotationHookRun = GroupName + "/hook-run"
	// AnnotationReplace with the value ReplaceAllowed consents that an object is
	// deleted and created anew where a change needs that.
	AnnotationReplace = GroupName + "/replace"
	// AnnotationPrune with the value PruneDisabled has an object left in the
	// cluster when it goes from git.
	AnnotationPrune = GroupName + "/prune"
)

// The values of AnnotationHookDelete.
const (
	// HookDeleteBeforeCreate deletes what an earlier run has left; it is the
	// default.
	HookDeleteBeforeCreate = "before-create"
	// HookDeleteSucceeded deletes what has succeeded.
	HookDeleteSucceeded = "succeeded"
	// HookDeleteFailed deletes what has failed.
	HookDeleteFailed = "failed"
)

// The values of AnnotationReplace and AnnotationPrune.
const (
	ReplaceAllowed = "allowed"
	PruneDisabled  = "disabled"
)
