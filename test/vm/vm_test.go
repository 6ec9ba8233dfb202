package vm_test

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience is how long the machine may say nothing: an emulated one is slow.
const patience = 20 * time.Minute

// steps that the machine must tell of, in order (see guest/tour).
var steps = []string{
	"cgroup2", "up", "outside_the_unit", "push_five", "service", "drift", "limits", "restart", "prune", "repository_away",
	"rebooted", "down",
}

// TestMachine boots the machine and turns what it tells into results.
func TestMachine(t *testing.T) {
	if os.Getenv("HEADWAY_VM") == "" {
		t.Skip("an emulated machine takes minutes: run make test-vm")
	}
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "./image", dir).CombinedOutput(); err != nil {
		t.Fatalf("make the image: %v\n%s", err, out)
	}
	told := map[string]bool{}
	lines := boot(t, dir)
	for ended := false; !ended; {
		select {
		case line, ok := <-lines:
			if !ok {
				ended = true
			} else if name, found := strings.CutPrefix(line, "@@ begin "); found {
				told[name] = true
				t.Run(name, func(t *testing.T) { follow(t, lines) })
			} else if line == "@@ end" {
				ended = true
			}
		case <-time.After(patience):
			t.Fatalf("the machine has said nothing for %s", patience)
		}
	}
	for _, name := range steps {
		if !told[name] {
			t.Errorf("the machine never came to %q", name)
		}
	}
}

// follow logs what a step prints until it tells its result.
func follow(t *testing.T, lines <-chan string) {
	t.Helper()
	for {
		select {
		case line, ok := <-lines:
			switch {
			case !ok:
				t.Fatal("the machine has stopped in the middle")
			case strings.HasPrefix(line, "@@ pass "):
				return
			case strings.HasPrefix(line, "@@ fail "):
				t.FailNow()
			}
			t.Log(line)
		case <-time.After(patience):
			t.Fatalf("the machine has said nothing for %s", patience)
		}
	}
}

// boot starts the emulator; the lines of its serial console end with it.
func boot(t *testing.T, dir string) <-chan string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-machine", "q35", "-cpu", "max", "-accel", "tcg,thread=multi", "-smp", "2", "-m", "3G",
		"-display", "none", "-monitor", "none", "-serial", "stdio",
		"-kernel", filepath.Join(dir, "kernel"), "-initrd", filepath.Join(dir, "initrd"),
		"-append", "console=ttyS0 root=/dev/vda rw quiet net.ifnames=0 systemd.unified_cgroup_hierarchy=1",
		// The image is thrown away, so nothing needs to reach the host's disk.
		"-drive", "if=virtio,format=raw,cache=unsafe,file="+filepath.Join(dir, "disk"),
		"-nic", "user,model=virtio-net-pci,restrict=on", "-device", "virtio-rng-pci")
	cmd.Stderr = os.Stderr
	console, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string)
	done := make(chan struct{})
	go func() {
		defer close(done)
		read(ctx, console, lines)
		_ = cmd.Wait() // killed at the end, or has powered off: what counts is what it told
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return lines
}

func read(ctx context.Context, console io.Reader, lines chan<- string) {
	defer close(lines)
	for s := bufio.NewScanner(console); s.Scan(); {
		select {
		case lines <- strings.TrimRight(s.Text(), "\r"):
		case <-ctx.Done():
			return
		}
	}
}
