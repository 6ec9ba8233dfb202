// Package eviction decides which pods a node gives up when it runs out of
// memory, disk, inodes or process numbers, and when a pod uses more local disk
// than it may.
//
//	observations ─▶ Thresholds.Look ─▶ conditions of the Node
//	                     │
//	                     └▶ the threshold to act on ─▶ images go ─▶ still met? ─▶ Rank ─▶ one pod
//
// What decides is a function of what was read; Evictor reads and acts.
package eviction
