// Package emulator is a kernel for tests of package policy: it keeps sets and
// chains as a kernel does, refuses what a kernel refuses, and tells what
// happens to a packet.
package emulator
