package runtimetest

import (
	"errors"
	"reflect"
	goruntime "runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

const architecture = goruntime.GOARCH

// forever runs until a signal ends it, though it is process 1.
const forever = "trap 'exit 143' TERM; echo ready; while true; do sleep 0.05; done"

func testExit(p *Pod) {
	id := p.Create(p.Config("job", "echo hello; echo oops >&2; exit 3"))
	if got := p.Container(id); got.State != runtime.StateCreated || got.PodUID != p.UID || got.Name != "job" || got.Created.IsZero() {
		p.Errorf("created: %+v", got)
	}
	if err := p.Runtime.Start(p.Context(), id); err != nil {
		p.Fatal(err)
	}
	p.AwaitEvent(runtime.EventStarted, id)
	p.AwaitEvent(runtime.EventExited, id)
	if e := p.AwaitEvent(runtime.EventLogged, id); e.ExitCode != 3 || e.PodUID != p.UID || e.Time.IsZero() {
		p.Errorf("event %+v", e)
	}
	got := p.Container(id)
	if got.State != runtime.StateExited || got.ExitCode != 3 || got.OOMKilled || got.PID != 0 {
		p.Errorf("exited: %+v", got)
	}
	if got.Started.IsZero() || got.Finished.Before(got.Started) {
		p.Errorf("started %v, finished %v", got.Started, got.Finished)
	}
	lines := strings.Split(p.Log("job"), "\n")
	slices.Sort(lines)
	if !slices.Equal(lines, []string{"hello", "oops"}) {
		p.Errorf("log %q", lines)
	}
	if err := p.Runtime.Remove(p.Context(), id); err != nil {
		p.Fatal(err)
	}
	if got := p.Container(id); got.ID != "" {
		p.Errorf("removed: %+v", got)
	}
}

func testImageDefaults(p *Pod) {
	config := p.Config("job", "")
	config.Command = nil
	if got := p.RunToEnd(config); got.ExitCode != 42 || !strings.HasPrefix(got.ImageID, "sha256:") {
		p.Errorf("the image's command: %+v", got)
	}
}

func testEnvironment(p *Pod) {
	config := p.Config("job", "echo $FROM_IMAGE $BOTH $OWN $HOSTNAME; hostname; id -u; id -g; id -G; pwd")
	config.Env = []string{"OWN=mine", "BOTH=container"}
	config.RunAsUserName = "app"
	config.WorkingDir = "/bin"
	p.RunToEnd(config)
	want := "yes container mine web-host\nweb-host\n1000\n1000\n1000 2000\n/bin"
	if got := p.Log("job"); got != want {
		p.Errorf("log %q, want %q", got, want)
	}
}

func testUser(p *Pod) {
	config := p.Config("job", "exit 0")
	user, group := int64(7), int64(8)
	config.RunAsUser, config.RunAsGroup, config.SupplementalGroups = &user, &group, []int64{9}
	id := p.Create(config)
	got, err := p.Runtime.User(p.Context(), id)
	if want := (&runtime.User{UID: 7, GID: 8, Groups: []int64{8, 9}}); err != nil || !reflect.DeepEqual(got, want) {
		p.Errorf("user %+v, %v, want %+v", got, err, want)
	}
}

func testNoCommand(p *Pod) {
	config := p.Config("bad", "")
	config.Command = []string{"no-such-command"}
	id := p.Create(config)
	err := p.Runtime.Start(p.Context(), id)
	var refused *runtime.StartError
	if !errors.As(err, &refused) || refused.ExitCode != 127 || !strings.Contains(refused.Message, "no-such-command") {
		p.Errorf("start: %v", err)
	}
	if got := p.Container(id); got.State != runtime.StateExited || got.ExitCode != 127 || got.Reason != "StartError" || got.Message == "" {
		p.Errorf("after a start that was refused: %+v", got)
	}
}

func testMissing(p *Pod) {
	config := p.Config("job", "exit 0")
	config.Image = "missing:v1"
	if _, err := p.Runtime.Create(p.Context(), config); !errors.Is(err, runtime.ErrImageNotFound) {
		p.Errorf("create of a missing image: %v", err)
	}
	config = p.Config("job", "exit 0")
	config.PodUID = "other"
	if _, err := p.Runtime.Create(p.Context(), config); err == nil {
		p.Error("create without a sandbox worked")
	}
	for _, call := range []func() error{
		func() error { return p.Runtime.Remove(p.Context(), "none") },
		func() error { return p.Runtime.Signal(p.Context(), "none", int(unix.SIGTERM)) },
		func() error { return p.Runtime.StopSandbox(p.Context(), "none") },
		func() error { return p.Runtime.RemoveSandbox(p.Context(), "none") },
		func() error { return p.Runtime.RemoveImage(p.Context(), "none:v1") },
	} {
		if err := call(); err != nil {
			p.Errorf("removing what is not there: %v", err)
		}
	}
}

func testSignals(p *Pod) {
	for _, tc := range []struct {
		signal unix.Signal
		code   int
	}{{unix.SIGTERM, 143}, {unix.SIGKILL, 137}} {
		name := tc.signal.String()
		name = strings.ReplaceAll(name, " ", "-")
		id := p.Start(p.Config(name, forever))
		p.AwaitLog(name, "ready")
		if got := p.Container(id); got.State != runtime.StateRunning || got.PID == 0 {
			p.Errorf("running: %+v", got)
		}
		if err := p.Runtime.Signal(p.Context(), id, int(tc.signal)); err != nil {
			p.Fatal(err)
		}
		if e := p.AwaitEvent(runtime.EventExited, id); e.ExitCode != tc.code {
			p.Errorf("%s: exit code %d, want %d", name, e.ExitCode, tc.code)
		}
		if err := p.Runtime.Signal(p.Context(), id, int(tc.signal)); err != nil {
			p.Errorf("signal after the end: %v", err)
		}
	}
}

func testIdempotent(p *Pod) {
	config := p.Config("app", forever)
	id := p.Start(config)
	again, err := p.Runtime.Create(p.Context(), config)
	if err != nil || again != id {
		p.Errorf("second create: %q, %v; want %q", again, err, id)
	}
	pid := p.Container(id).PID
	if err := p.Runtime.Start(p.Context(), id); err != nil {
		p.Error(err)
	}
	if _, err := p.Runtime.StartSandbox(p.Context(), runtime.SandboxConfig{PodUID: p.UID}); err != nil {
		p.Error(err)
	}
	if got := p.Container(id).PID; got != pid {
		p.Errorf("process %d, want %d", got, pid)
	}
	for range 2 {
		if err := p.Runtime.Remove(p.Context(), id); err != nil {
			p.Error(err)
		}
	}
	for range 2 {
		if err := p.Runtime.StopSandbox(p.Context(), p.UID); err != nil {
			p.Error(err)
		}
	}
}

func testReopen(p *Pod) {
	config := p.Config("app", forever)
	config.Labels = map[string]string{"a": strings.Repeat("long", 3000)}
	config.Attempt = 2
	running := p.Start(config)
	ended := p.RunToEnd(p.Config("job", "exit 7")).ID
	want := p.Container(running)
	p.Runtime = p.Reopen(p.T)
	p.Events = p.Runtime.Events(p.Context())
	got := p.Container(running)
	if got.State != runtime.StateRunning || got.PID != want.PID || got.Attempt != 2 || !got.Started.Equal(want.Started) || got.Labels["a"] != config.Labels["a"] {
		p.Errorf("running after reopening: %+v", got)
	}
	if got := p.Container(ended); got.State != runtime.StateExited || got.ExitCode != 7 {
		p.Errorf("exited after reopening: %+v", got)
	}
	sandboxes, _, err := p.Runtime.List(p.Context())
	if err != nil {
		p.Fatal(err)
	}
	i := slices.IndexFunc(sandboxes, func(s runtime.Sandbox) bool { return s.PodUID == p.UID })
	if i < 0 || !sandboxes[i].Ready || sandboxes[i].PodName != "web" || sandboxes[i].NetNS == "" {
		p.Errorf("sandboxes after reopening: %+v", sandboxes)
	}
	if err := p.Runtime.Signal(p.Context(), running, int(unix.SIGKILL)); err != nil {
		p.Fatal(err)
	}
	if e := p.AwaitEvent(runtime.EventExited, running); e.ExitCode != 137 {
		p.Errorf("event %+v", e)
	}
}

func testOOM(p *Pod) {
	config := p.Config("hog", "")
	config.Command = []string{"tail", "/dev/zero"} // keeps one endless line
	config.Resources.MemoryLimit = 16 << 20
	if got := p.RunToEnd(config); got.ExitCode != 137 || !got.OOMKilled {
		p.Errorf("killed for memory: %+v", got)
	}
}

func testStop(p *Pod) {
	first, second := p.Start(p.Config("one", forever)), p.Start(p.Config("two", "trap '' TERM; while true; do sleep 0.05; done"))
	if err := p.Runtime.StopSandbox(p.Context(), p.UID); err != nil {
		p.Fatal(err)
	}
	for _, id := range []string{first, second} {
		if got := p.Container(id); got.State != runtime.StateExited || got.ExitCode != 137 {
			p.Errorf("after stop: %+v", got)
		}
	}
	if err := p.Runtime.RemoveSandbox(p.Context(), p.UID); err != nil {
		p.Fatal(err)
	}
	sandboxes, containers, err := p.Runtime.List(p.Context())
	if err != nil {
		p.Fatal(err)
	}
	for _, s := range sandboxes {
		if s.PodUID == p.UID {
			p.Errorf("sandbox is left: %+v", s)
		}
	}
	for _, c := range containers {
		if c.PodUID == p.UID {
			p.Errorf("container is left: %+v", c)
		}
	}
}

func testImages(p *Pod) {
	img, err := p.Runtime.Image(p.Context(), ImageName)
	if err != nil {
		p.Fatal(err)
	}
	if !slices.Contains(img.References, "docker.io/library/"+ImageName) || img.UID == nil || *img.UID != 0 || img.Labels["maker"] != "suite" {
		p.Errorf("image %+v", img)
	}
	byID, err := p.Runtime.Image(p.Context(), img.ID)
	if err != nil || byID.ID != img.ID {
		p.Errorf("by ID: %+v, %v", byID, err)
	}
	list, err := p.Runtime.ListImages(p.Context())
	if err != nil || !slices.ContainsFunc(list, func(i runtime.Image) bool { return i.ID == img.ID }) {
		p.Errorf("list %+v, %v", list, err)
	}
	if _, err := p.Runtime.Image(p.Context(), "missing:v1"); !errors.Is(err, runtime.ErrImageNotFound) {
		p.Errorf("missing image: %v", err)
	}
	if _, err := p.Runtime.Import(p.Context(), strings.NewReader("not an archive")); err == nil {
		p.Error("import of nonsense worked")
	}
}
