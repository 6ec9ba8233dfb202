package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headway-sh/headway/examples/hello"
)

func TestCheckMachineNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	have := func(string) (string, error) { return "/bin/x", nil }
	lacks := func(program string) (string, error) {
		if program == "runc" || strings.HasPrefix(program, "iptables") {
			return "", errors.New("not found")
		}
		return "/bin/x", nil
	}
	if err := checkMachine(have, 0); err != nil {
		t.Error(err)
	}
	if err := checkMachine(have, 1000); err == nil {
		t.Error("a node without root")
	}
	if err := checkMachine(lacks, 0); err == nil || !strings.Contains(err.Error(), "apt-get install runc iptables") || strings.Count(err.Error(), " iptables") != 3 {
		t.Errorf("error %v", err)
	}
}

// The repository that up makes is one that git itself is content with.
func TestSeedRepository(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "repos", "cluster.git")
	for i, want := range []bool{true, false} {
		made, err := seedRepository(path, hello.Repository, time.Unix(1e9, 0))
		if err != nil || made != want {
			t.Fatalf("call %d: made %v, %v", i, made, err)
		}
	}
	clone := filepath.Join(t.TempDir(), "clone")
	for _, args := range [][]string{{"-C", path, "fsck", "--strict"}, {"clone", "-q", path, clone}} {
		if out, err := exec.CommandContext(t.Context(), "git", args...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	want, err := hello.Repository.ReadFile("apps/hello/deployment.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(clone, "apps/hello/deployment.yaml"))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("cloned %q, %v", got, err)
	}
}

func TestSupervisorsLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	holder := func(want int) {
		t.Helper()
		if pid, err := lockHolder(path); err != nil || pid != want {
			t.Errorf("held by %d, %v; want %d", pid, err, want)
		}
	}
	holder(0)
	lock, err := takeLock(path)
	if err != nil {
		t.Fatal(err)
	}
	holder(os.Getpid())
	if second, err := takeLock(path); err == nil {
		t.Error("two supervisors", second.Close())
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	holder(0)
}

func TestLogStaysSmall(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	l, err := openLog(path, 10)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := l.Write([]byte("sixsix")); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + ".1"} {
		if text, err := os.ReadFile(name); err != nil || string(text) != "sixsix" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}
