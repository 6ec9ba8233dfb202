package main

import (
	"bytes"
	"testing"
)

// TestCompletion asks as a shell does.
func TestCompletion(t *testing.T) {
	t.Parallel()
	f := follow(t, map[string]string{"settled.yaml": settled}, reporting)
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"sources":           {[]string{"suspend", ""}, "main\t" + f.git.dir},
		"sources of a flag": {[]string{"rollback", "--source", ""}, "main\t" + f.git.dir},
		"commits":           {[]string{"rollback", ""}, f.git.run("rev-parse", "HEAD")[:12] + "\tHealthy begin"},
		"kinds":             {[]string{"trace", "config"}, "configmaps/"},
		"names":             {[]string{"trace", "cm/"}, "cm/settled"},
		"names in none":     {[]string{"trace", "ns/"}, "ns/kube-system"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := newRoot()
			ok(t, complete(root))
			var out bytes.Buffer
			root.SetOut(&out)
			root.SetErr(&bytes.Buffer{})
			root.SetArgs(append([]string{"__complete", "--kubeconfig", f.config}, tc.args...))
			ok(t, root.ExecuteContext(t.Context()))
			contains(t, out.String(), tc.want+"\n")
		})
	}
}
