// Package deployment rolls out Deployments. It writes ReplicaSets (their
// existence, size and annotations) and the status and revision of Deployments.
//
//	            ┌ paused ────▶ resize only ─────────────────────┐
//	sets ──────▶┤ resized ───▶ share out in proportion ─────────┤
//	(new, old)  ├ recreate ──▶ old to 0, wait for pods, new up ─┼──▶ history, status
//	            └ rolling ───▶ GrowNew, ShrinkOld ──────────────┘
//
// The arithmetic is in rollout.go, conditions and status in status.go, the
// new set's making and revisions in newset.go.
package deployment
