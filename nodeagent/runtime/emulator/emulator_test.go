package emulator_test

import (
	"errors"
	"os"
	"path/filepath"
	stdruntime "runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/runtime/emulator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func next(t *testing.T, events <-chan runtime.Event) runtime.Event {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("no event")
		return runtime.Event{}
	}
}

func TestScriptedLife(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	rt := emulator.New(clk)
	defer rt.Close()
	rt.AddImage(runtime.Image{ID: "sha256:1", References: []string{"job:v1"}})
	rt.AddImage(runtime.Image{ID: "sha256:2", References: []string{"hog:v1"}})
	rt.SetProgram("job:v1", emulator.Printing("hello\nwor", emulator.ExitAfter(time.Second, 3)))
	rt.SetProgram("hog:v1", emulator.OOMAfter(0))
	events := rt.Events(ctx)
	logPath := filepath.Join(t.TempDir(), "pod", "0.log")

	if _, err := rt.Create(ctx, runtime.ContainerConfig{PodUID: "1", Name: "app", Image: "job:v1"}); err == nil {
		t.Error("create without a sandbox worked")
	}
	if _, err := rt.StartSandbox(ctx, runtime.SandboxConfig{PodUID: "1", PodName: "web", PodNamespace: "default"}); err != nil {
		t.Fatal(err)
	}
	if _, err := rt.Create(ctx, runtime.ContainerConfig{PodUID: "1", Name: "app", Image: "none"}); !errors.Is(err, runtime.ErrImageNotFound) {
		t.Errorf("create of a missing image: %v", err)
	}
	id, err := rt.Create(ctx, runtime.ContainerConfig{PodUID: "1", Name: "app", Image: "job:v1", LogPath: logPath})
	if err != nil {
		t.Fatal(err)
	}
	if err := rt.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	if e := next(t, events); e.Kind != runtime.EventStarted || e.ContainerID != id {
		t.Errorf("event %+v", e)
	}
	for !clk.HasWaiters() {
		stdruntime.Gosched() // the program is about to start its timer
	}
	clk.Step(time.Second)
	for _, want := range []runtime.EventKind{runtime.EventExited, runtime.EventLogged} {
		if e := next(t, events); e.Kind != want || e.ExitCode != 3 {
			t.Errorf("event %+v, want %s", e, want)
		}
	}
	log, err := os.ReadFile(logPath)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(log), "\n"); got != 2 || !strings.Contains(string(log), "stdout P wor\n") {
		t.Errorf("log %q", log)
	}

	hog, err := rt.Create(ctx, runtime.ContainerConfig{PodUID: "1", Name: "hog", Image: "hog:v1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := rt.Start(ctx, hog); err != nil {
		t.Fatal(err)
	}
	for _, want := range []runtime.EventKind{runtime.EventStarted, runtime.EventOOM, runtime.EventExited, runtime.EventLogged} {
		if e := next(t, events); e.Kind != want {
			t.Errorf("event %+v, want %s", e, want)
		}
	}
	rt.FailNext("Start", &runtime.StartError{Reason: "StartError", Message: "no such file", ExitCode: 127})
	bad, err := rt.Create(ctx, runtime.ContainerConfig{PodUID: "1", Name: "bad", Image: "job:v1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := rt.Start(ctx, bad); err == nil {
		t.Error("the failing start worked")
	}
	want := `sandbox default/web uid=1 ready
  container app#0 exited code=3
  container bad#0 exited code=127 reason=StartError
  container hog#0 exited code=137 oom
image docker.io/library/hog:v1
image docker.io/library/job:v1
`
	if diff := cmp.Diff(want, rt.Dump()); diff != "" {
		t.Errorf("dump (-want +got):\n%s", diff)
	}
}
