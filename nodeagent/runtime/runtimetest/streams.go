package runtimetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

func testExec(p *Pod) {
	id := p.Start(p.Config("app", forever))
	for _, tc := range []struct {
		name, script, stdin, stdout, stderr string
		code                                int
	}{
		{name: "output", script: "echo out; echo err >&2", stdout: "out\n", stderr: "err\n"},
		{name: "exit code", script: "exit 5", code: 5},
		{name: "stdin", script: "cat", stdin: "through\nthe pipe", stdout: "through\nthe pipe"},
		{name: "same host", script: "hostname", stdout: "web-host\n"},
	} {
		var stdout, stderr bytes.Buffer
		config := runtime.ExecConfig{Command: []string{"sh", "-c", tc.script}}
		config.Stdout, config.Stderr = &stdout, &stderr
		if tc.stdin != "" {
			config.Stdin = strings.NewReader(tc.stdin)
		}
		code, err := p.Runtime.Exec(p.Context(), id, config)
		if err != nil || code != tc.code {
			p.Errorf("%s: %d, %v; want %d", tc.name, code, err, tc.code)
		}
		if stdout.String() != tc.stdout || stderr.String() != tc.stderr {
			p.Errorf("%s: output %q, %q", tc.name, stdout.String(), stderr.String())
		}
	}
	_, err := p.Runtime.Exec(p.Context(), id, runtime.ExecConfig{Command: []string{"no-such-command"}})
	var refused *runtime.StartError
	if !errors.As(err, &refused) {
		p.Errorf("exec of no such command: %v", err)
	}
	if _, err := p.Runtime.Exec(p.Context(), "none", runtime.ExecConfig{Command: []string{"sh"}}); err == nil {
		p.Error("exec in no container worked")
	}
}

func testExecTimeout(p *Pod) {
	id := p.Start(p.Config("app", forever))
	start := time.Now()
	_, err := p.Runtime.Exec(p.Context(), id, runtime.ExecConfig{Command: []string{"sleep", "60"}, Timeout: 100 * time.Millisecond})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > Patience {
		p.Errorf("exec with a timeout: %v after %v", err, time.Since(start))
	}
	if got := p.Container(id); got.State != runtime.StateRunning {
		p.Errorf("container after it: %+v", got)
	}
}

func testAttach(p *Pod) {
	config := p.Config("app", "")
	config.Command = []string{"cat"}
	config.Stdin, config.StdinOnce = true, true
	id := p.Start(config)
	in, feed := io.Pipe()
	var stdout bytes.Buffer
	ended := make(chan error, 1)
	go func() {
		ended <- p.Runtime.Attach(p.Context(), id, runtime.Streams{Stdin: in, Stdout: &stdout})
	}()
	if _, err := io.WriteString(feed, "typed\n"); err != nil {
		p.Fatal(err)
	}
	p.AwaitLog("app", "typed")
	if err := feed.Close(); err != nil { // stdin once: the program sees its end
		p.Fatal(err)
	}
	if e := p.AwaitEvent(runtime.EventLogged, id); e.ExitCode != 0 {
		p.Errorf("event %+v", e)
	}
	if err := <-ended; err != nil {
		p.Error(err)
	}
	if stdout.String() != "typed\n" {
		p.Errorf("attached output %q", stdout.String())
	}
}
