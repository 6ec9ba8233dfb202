// Package vm holds the test of a whole machine, `make test-vm`: a minimal
// distribution with systemd and cgroup v2 is booted in an emulator, goes
// through the tour, and is started again with the repository away.
package vm
