// Package plan decides what to do next for one pod. Make is a function of the
// desired pod, of what was observed and of the time; it does nothing itself
// and is asked again after every change:
//
//	         ┌────────── SetUp ──────────┐
//	pod ────▶│ init containers, in order │──▶ Start containers ◀─┐ back-off
//	         └───────────────────────────┘          │ exit ──────┘
//	deleted, failed or complete ─▶ Kill ─▶ Kill sidecars, last first
//	                                 ─▶ TearDown ─▶ Finish (when deleted)
package plan
