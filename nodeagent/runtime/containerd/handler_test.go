package containerd_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/runtime/containerd"
	"github.com/headway-sh/headway/nodeagent/runtime/runtimetest"
)

// handlers are the suite's: "noted" is runc behind a script that leaves a note.
func (n *node) handlers() map[string]containerd.Handler {
	return map[string]containerd.Handler{"noted": {Binary: filepath.Join(n.dir, "noted")}}
}

func testHandlers(n *node, p *runtimetest.Pod) {
	runc, err := exec.LookPath("runc")
	if err != nil {
		p.Fatal(err)
	}
	note := filepath.Join(n.dir, "note")
	script := fmt.Sprintf("#!/bin/sh\necho \"$@\" >> %s\nexec %s \"$@\"\n", note, runc)
	if err := os.WriteFile(n.handlers()["noted"].Binary, []byte(script), 0o700); err != nil { //nolint:gosec // a program
		p.Fatal(err)
	}
	noted := runtimetest.NewPod(p.T, p.Subject, runtime.SandboxConfig{Handler: "noted"})
	if got := noted.RunToEnd(noted.Config("app", "exit 7")); got.ExitCode != 7 {
		p.Errorf("%+v", got)
	}
	if text, err := os.ReadFile(note); err != nil || !strings.Contains(string(text), "create") {
		p.Errorf("the handler's program was not used: %q, %v", text, err)
	}
	other := runtimetest.NewPod(p.T, p.Subject, runtime.SandboxConfig{Handler: "none"})
	if _, err := other.Runtime.Create(p.Context(), other.Config("app", "exit 0")); err == nil || !strings.Contains(err.Error(), `no runtime for "none"`) {
		p.Errorf("created with an unknown handler: %v", err)
	}
}

// testForkBomb: what a container starts without end stops at its limit, and
// goes with it.
func testForkBomb(n *node, p *runtimetest.Pod) {
	// It ends when it cannot fork: a shell gives up then.
	config := p.Config("bomb", "n=0; while true; do sleep 60 & n=$((n+1)); echo begun $n; done")
	config.Resources = runtime.Resources{PidsLimit: 40}
	id := p.Start(config)
	p.AwaitLog("bomb", "can't fork")
	if log := p.Log("bomb"); !strings.Contains(log, "begun 30") || strings.Contains(log, "begun 40") {
		p.Errorf("log %q", log)
	}
	if err := p.Runtime.Remove(p.Context(), id); err != nil {
		p.Error(err)
	}
	p.Start(p.Config("next", idle))
}
