package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"
	cnitypes "github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
	"golang.org/x/sys/unix"
)

// pluginGrace is how long a plug-in that was killed has to let go of its pipes.
const pluginGrace = time.Second

// programs runs plug-ins. One that has to end goes with all that it has started:
// a child that outlived it would go on changing the pod's network, and would
// hold the pipes on which it is waited for.
type programs struct{ version.PluginDecoder }

var _ invoke.Exec = (*programs)(nil)

// FindInPath implements invoke.Exec.
func (*programs) FindInPath(plugin string, paths []string) (string, error) {
	return invoke.FindInPath(plugin, paths)
}

// ExecPlugin implements invoke.Exec.
func (*programs) ExecPlugin(ctx context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	var output, said bytes.Buffer
	c := exec.CommandContext(ctx, path)
	c.Env, c.Stdin, c.Stdout, c.Stderr = environ, bytes.NewReader(stdin), &output, &said
	c.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return unix.Kill(-c.Process.Pid, unix.SIGKILL) }
	c.WaitDelay = pluginGrace
	err := c.Run()
	if err == nil {
		return output.Bytes(), nil
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s: %w", path, ctx.Err())
	}
	answer := &cnitypes.Error{}
	if json.Unmarshal(output.Bytes(), answer) == nil && answer.Msg != "" {
		return nil, answer
	}
	return nil, fmt.Errorf("%s: %w: %s", path, err, bytes.TrimSpace(bytes.Join([][]byte{output.Bytes(), said.Bytes()}, nil)))
}
