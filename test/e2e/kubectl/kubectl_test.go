// Package kubectl_test drives a server with the real kubectl, as people do:
// each script in testdata runs in a namespace of its own against the built
// binary. There is no node, so no pod ever runs.
package kubectl_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/headway-sh/headway/test/e2e/testserver"
)

func TestKubectl(t *testing.T) {
	t.Parallel()
	headway := testserver.Binary(t)
	kubeconfig := testserver.Start(t, headway)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			name := "script-" + strings.ToLower(strings.TrimPrefix(filepath.Base(env.WorkDir), "script-"))
			own := filepath.Join(env.WorkDir, ".kubeconfig")
			content, err := os.ReadFile(kubeconfig)
			if err != nil {
				return err
			}
			if err := os.WriteFile(own, content, 0o600); err != nil {
				return err
			}
			for _, args := range [][]string{{"create", "namespace", name}, {"config", "set-context", "--current", "--namespace", name}} {
				c := exec.CommandContext(t.Context(), headway, append([]string{"kubectl"}, args...)...)
				c.Env = append(os.Environ(), "KUBECONFIG="+own, "HOME="+env.WorkDir)
				if out, err := c.CombinedOutput(); err != nil {
					return fmt.Errorf("kubectl %v: %w: %s", args, err, out)
				}
			}
			env.Setenv("KUBECONFIG", own)
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("HEADWAY", headway)
			env.Setenv("NS", name)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"kubectl": func(ts *testscript.TestScript, neg bool, args []string) {
				switch err := ts.Exec(headway, append([]string{"kubectl"}, args...)...); {
				case err != nil && !neg:
					ts.Fatalf("kubectl: %v", err)
				case err == nil && neg:
					ts.Fatalf("kubectl succeeded, but should have failed")
				}
			},
		},
	})
}
