// Package rig is what the benchmark programs share: the built binary as a
// process, a git repository to push from, and watches that note when they see
// what.
package rig
