package containerd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// A process namespace lives as long as its first process. Only for pods that
// share theirs there is such a process: a program of some fifty bytes that has
// the kernel collect orphans (SIGCHLD is ignored) and sleeps.

// holderCode is for amd64: rt_sigaction(SIGCHLD, &ignore, 0, 8), then pause()
// for ever. The action follows the code: SIG_IGN, no flags, no restorer, no mask.
var holderCode = []byte{
	0xb8, 13, 0, 0, 0, // mov eax, rt_sigaction
	0xbf, 17, 0, 0, 0, // mov edi, SIGCHLD
	0x48, 0x8d, 0x35, 19, 0, 0, 0, // lea rsi, [rip+19]: the action
	0x31, 0xd2, // xor edx, edx
	0x41, 0xba, 8, 0, 0, 0, // mov r10d, 8
	0x0f, 0x05, // syscall
	0xb8, 34, 0, 0, 0, // again: mov eax, pause
	0x0f, 0x05, // syscall
	0xeb, 0xf7, // jmp again
	1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
}

// holderProgram is the code as an executable: one loaded segment, no sections.
func holderProgram() []byte {
	const (
		base       = 0x400000
		headerSize = 64
		entrySize  = 56
		amd64      = 62
		executable = 2
		readRun    = 5
		page       = 0x1000
	)
	size := uint64(headerSize + entrySize + len(holderCode))
	var out bytes.Buffer
	for _, part := range []any{
		[16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, uint16(executable), uint16(amd64), uint32(1),
		uint64(base + headerSize + entrySize), uint64(headerSize), uint64(0), uint32(0),
		uint16(headerSize), uint16(entrySize), uint16(1), uint16(0), uint16(0), uint16(0),
		uint32(1), uint32(readRun), uint64(0), uint64(base), uint64(base), size, size, uint64(page),
		holderCode,
	} {
		_ = binary.Write(&out, binary.LittleEndian, part) // fixed sizes into memory cannot fail
	}
	return out.Bytes()
}

// startHolder starts the first process of a new process namespace and pins it.
func startHolder(dir string) (pid int, err error) {
	if goruntime.GOARCH != "amd64" {
		return 0, fmt.Errorf("sharing the process namespace is not supported on %s", goruntime.GOARCH)
	}
	fd, err := unix.MemfdCreate("holder", unix.MFD_CLOEXEC)
	if err != nil {
		return 0, err
	}
	program := os.NewFile(uintptr(fd), "holder")
	defer func() { _ = program.Close() }() // what is wrong with it shows at the start
	if _, err := program.Write(holderProgram()); err != nil {
		return 0, err
	}
	cmd := exec.Command(fmt.Sprintf("/proc/self/fd/%d", fd))
	cmd.Args = []string{"pod-holder"}
	cmd.Dir, cmd.Env = "/", []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Setsid: true}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start holder: %w", err)
	}
	pid = cmd.Process.Pid
	path := filepath.Join(dir, "pid")
	err = os.WriteFile(path, nil, 0o600)
	if err == nil {
		err = unix.Mount(fmt.Sprintf("/proc/%d/ns/pid", pid), path, "", unix.MS_BIND, "")
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("pin process namespace: %w", err), cmd.Process.Kill(), cmd.Wait())
	}
	return pid, nil
}

// holds says whether the process is the first of the pinned namespace: a
// number alone may be another process's by now.
func holds(dir string, pid int) bool {
	var pinned, own unix.Stat_t
	return pid > 0 && unix.Stat(filepath.Join(dir, "pid"), &pinned) == nil &&
		unix.Stat(fmt.Sprintf("/proc/%d/ns/pid", pid), &own) == nil && pinned.Ino == own.Ino && pinned.Dev == own.Dev
}

// stopHolder ends the first process and with it all of its namespace.
func stopHolder(dir string, pid int) error {
	if !holds(dir, pid) {
		return nil
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end holder: %w", err)
	}
	// It is a child only of the agent that started it.
	if _, err := unix.Wait4(pid, nil, 0, nil); err != nil && !errors.Is(err, unix.ECHILD) {
		return fmt.Errorf("wait for holder: %w", err)
	}
	return nil
}
