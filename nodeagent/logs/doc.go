// Package logs reads containers' logs: files in the CRI format, whose older
// parts have been rotated away to <file>.<number or time>.
package logs
