package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// WindowKind is what a window does while it is open.
// +enum
type WindowKind string

const (
	// WindowAllow permits commits. Where there is any such window, commits are
	// applied in one of them only.
	WindowAllow WindowKind = "allow"
	// WindowDeny holds commits back, whatever other windows allow.
	WindowDeny WindowKind = "deny"
)

// Window is a time at which commits are applied, or are not.
type Window struct {
	// Kind is allow or deny.
	Kind WindowKind `json:"kind"`
	// Schedule is when the window opens, in the five fields of cron: minute,
	// hour, day of month, month and day of week.
	Schedule string `json:"schedule"`
	// Duration that it is open, between 1m and 744h.
	Duration metav1.Duration `json:"duration"`
	// TimeZone of the schedule, as "Europe/Berlin". Default UTC. Where clocks
	// are put forward past a start, the window opens at that moment; a start that
	// comes twice counts once.
	// +optional
	TimeZone string `json:"timeZone,omitempty"`
	// Paths are files, as "apps/**": the window is about commits that change one
	// of them, and of drift about objects that are written down in one. Empty:
	// every commit.
	// +optional
	// +listType=atomic
	Paths []string `json:"paths,omitempty"`
	// Drift says whether drift is put back while the window holds commits back.
	// Default true.
	// +optional
	Drift *bool `json:"drift,omitempty"`
	// Reason for people.
	// +optional
	Reason string `json:"reason,omitempty"`
}

// Freeze is why and until when the newest commit is held back by windows.
type Freeze struct {
	// Commit that is held back.
	Commit string `json:"commit"`
	// Until is when it will be applied; absent when no window opens within five
	// years.
	// +optional
	Until *metav1.Time `json:"until,omitempty"`
	// Message for people.
	Message string `json:"message"`
}

// Override is that somebody has had a commit applied in spite of windows.
type Override struct {
	// By is who asked for it.
	By string `json:"by"`
	// Freeze is what was disregarded.
	Freeze string `json:"freeze"`
}

const (
	// AnnotationSync on a GitSource names the one commit that is applied although
	// windows hold it back.
	AnnotationSync = GroupName + "/sync"
	// AnnotationSyncBy says who asked for it; the server knows it better when it
	// has seen the annotation being written.
	AnnotationSyncBy = GroupName + "/sync-by"
)

// WindowsFile is where a repository may have windows besides those of the spec,
// as a mapping with the list "windows". Those of the applied commit count until
// the next one is applied.
const WindowsFile = ".headway/windows.yaml"
