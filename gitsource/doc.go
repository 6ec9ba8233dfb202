// Package gitsource makes the cluster what git says: it follows GitSources,
// applies each commit as one transaction, prunes, judges health, corrects
// drift and reports back into git.
//
//	watch ─► repo ─► render ─► plan ─► apply ─► health ─► report
//	                             ▲                 ▲
//	                       drift ┴── write path ───┘
//
// Every source has one goroutine that owns all its state; it wakes when a
// reference moved, its GitSource changed, or somebody wrote an object of its
// inventory. When nothing happens nothing runs. What is in the cluster is told
// by the inventory, which is written in the same transaction as the objects.
package gitsource
