// Package figure prints what the benchmark programs measure, one line a
// figure, and reads from /proc what a process has used.
package figure
