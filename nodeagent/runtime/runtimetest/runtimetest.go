// Package runtimetest is what every container runtime has to pass: the
// emulator and the real ones.
package runtimetest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/headway-sh/headway/internal/imagebuild"
	"github.com/headway-sh/headway/nodeagent/runtime"
)

// Patience bounds every wait of the suite.
const Patience = 20 * time.Second

// ImageName is the image that New's runtime has imported when a test begins.
const ImageName = "runtimetest:v1"

// Subject is one runtime under test.
type Subject struct {
	Runtime runtime.Interface
	// Reopen acts as a restart of the agent: the old Runtime is not used again.
	Reopen func(t *testing.T) runtime.Interface
}

// Archive is a docker archive of the suite's image: busybox as the applets
// that the suite runs, and a user "app" (1000) in the groups 1000 and 2000.
func Archive(t testing.TB, busybox string) []byte {
	t.Helper()
	image := imagebuild.Image{
		Reference: ImageName, Architecture: architecture,
		Files: []imagebuild.File{
			{Path: "/bin/busybox", Source: busybox, Mode: 0o755},
			{Path: "/tmp", Mode: os.ModeDir | os.ModeSticky | 0o777},
			{Path: "/etc/passwd", Content: []byte("root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n")},
			{Path: "/etc/group", Content: []byte("root:x:0:\napp:x:1000:\nextra:x:2000:app\n")},
		},
		Config: v1.Config{
			Env: []string{"PATH=/bin", "FROM_IMAGE=yes", "BOTH=image"}, Cmd: []string{"sh", "-c", "exit 42"}, WorkingDir: "/tmp",
			Labels: map[string]string{"maker": "suite"},
		},
	}
	if busybox == "" {
		image.Files[0] = imagebuild.File{Path: "/bin/busybox", Mode: 0o755}
	}
	for _, applet := range []string{"sh", "sleep", "echo", "cat", "env", "hostname", "id", "tail", "touch", "readlink", "pwd", "seq", "kill", "grep"} {
		image.Files = append(image.Files, imagebuild.File{Path: "/bin/" + applet, Link: "busybox"})
	}
	var archive bytes.Buffer
	if err := imagebuild.WriteArchive(&archive, image); err != nil {
		t.Fatal(err)
	}
	return archive.Bytes()
}

// Run runs the suite; newSubject gives a runtime that has the suite's image.
func Run(t *testing.T, newSubject func(t *testing.T) Subject) {
	for _, tc := range []struct {
		name string
		run  func(*Pod)
	}{
		{"exit code and log", testExit},
		{"image defaults", testImageDefaults},
		{"environment, user and hostname", testEnvironment},
		{"who a process is", testUser},
		{"no such command", testNoCommand},
		{"missing image and sandbox", testMissing},
		{"signals", testSignals},
		{"exec", testExec},
		{"exec that lasts too long", testExecTimeout},
		{"attach", testAttach},
		{"calls are idempotent", testIdempotent},
		{"list after reopening", testReopen},
		{"killed for memory", testOOM},
		{"stop ends all", testStop},
		{"images", testImages},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSubject(t)
			p := NewPod(t, s, runtime.SandboxConfig{})
			tc.run(p)
		})
	}
}

// Pod is a sandbox in a test; it is removed when the test ends.
type Pod struct {
	*testing.T
	Subject
	UID    string
	Events <-chan runtime.Event
	logs   string
}

// NewPod starts a sandbox; empty fields get values.
func NewPod(t *testing.T, s Subject, config runtime.SandboxConfig) *Pod {
	t.Helper()
	p := &Pod{T: t, Subject: s, UID: fmt.Sprintf("pod-%d", time.Now().UnixNano()), logs: t.TempDir()}
	config.PodUID, config.PodName, config.PodNamespace = p.UID, "web", "default"
	if config.Hostname == "" {
		config.Hostname = "web-host"
	}
	if config.CgroupParent == "" {
		config.CgroupParent = "/headway-runtimetest/" + p.UID
	}
	p.Events = s.Runtime.Events(t.Context())
	if _, err := s.Runtime.StartSandbox(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), Patience)
		defer cancel()
		if err := p.Runtime.RemoveSandbox(ctx, p.UID); err != nil {
			t.Error(err)
		}
	})
	return p
}

// Config is a container that runs the script.
func (p *Pod) Config(name, script string) runtime.ContainerConfig {
	return runtime.ContainerConfig{
		PodUID: p.UID, Name: name, Image: ImageName, Command: []string{"sh", "-c", script}, LogPath: p.LogPath(name),
	}
}

// LogPath is where the container's log is.
func (p *Pod) LogPath(name string) string { return filepath.Join(p.logs, name, "0.log") }

// Create makes a container.
func (p *Pod) Create(config runtime.ContainerConfig) string {
	p.Helper()
	id, err := p.Runtime.Create(p.Context(), config)
	if err != nil {
		p.Fatal(err)
	}
	return id
}

// Start makes and starts a container.
func (p *Pod) Start(config runtime.ContainerConfig) string {
	p.Helper()
	id := p.Create(config)
	if err := p.Runtime.Start(p.Context(), id); err != nil {
		p.Fatal(err)
	}
	return id
}

// Container is the container as List has it.
func (p *Pod) Container(id string) runtime.Container {
	p.Helper()
	_, list, err := p.Runtime.List(p.Context())
	if err != nil {
		p.Fatal(err)
	}
	for _, c := range list {
		if c.ID == id {
			return c
		}
	}
	return runtime.Container{}
}

// AwaitEvent waits for an event of the kind about the container.
func (p *Pod) AwaitEvent(kind runtime.EventKind, id string) runtime.Event {
	p.Helper()
	timeout := time.After(Patience)
	for {
		select {
		case e := <-p.Events:
			if e.Kind == kind && e.ContainerID == id {
				return e
			}
		case <-timeout:
			p.Fatalf("no %s event of %s in %v", kind, id, Patience)
		}
	}
}

// RunToEnd runs a container until it exits, and gives how it is then.
func (p *Pod) RunToEnd(config runtime.ContainerConfig) runtime.Container {
	p.Helper()
	id := p.Start(config)
	p.AwaitEvent(runtime.EventLogged, id)
	return p.Container(id)
}

// Log is the text of the container's log: the third field of each entry on.
func (p *Pod) Log(name string) string {
	p.Helper()
	content, err := os.ReadFile(p.LogPath(name))
	if err != nil {
		p.Fatal(err)
	}
	var lines []string
	for _, line := range strings.Split(strings.TrimSuffix(string(content), "\n"), "\n") {
		fields := strings.SplitN(line, " ", 4)
		if len(fields) != 4 {
			p.Fatalf("not a log entry: %q", line)
		}
		lines = append(lines, fields[3])
	}
	return strings.Join(lines, "\n")
}

// AwaitLog waits until the log has the text.
func (p *Pod) AwaitLog(name, text string) {
	p.Helper()
	Await(p.T, fmt.Sprintf("%q in the log of %s", text, name), func() bool {
		content, err := os.ReadFile(p.LogPath(name))
		return err == nil && strings.Contains(string(content), text)
	})
}

// Await waits for a condition.
func Await(t *testing.T, what string, done func() bool) {
	t.Helper()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.After(Patience)
	for !done() {
		select {
		case <-ticker.C:
		case <-timeout:
			t.Fatalf("%s: not in %v", what, Patience)
		}
	}
}
