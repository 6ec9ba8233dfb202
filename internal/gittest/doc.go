// Package gittest is a real git server inside a test's process: git itself
// behind https and ssh, on loopback, with faults that a test can switch on.
// It is for tests only.
package gittest
