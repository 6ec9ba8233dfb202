package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// settingsOf parses arguments for `headway server` and gives the flag's value.
func settingsOf(t *testing.T, flag string, args ...string) (string, error) {
	t.Helper()
	root := newRoot()
	cmd, rest, err := root.Find(append([]string{"server"}, args...))
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.ParseFlags(rest); err != nil {
		t.Fatal(err)
	}
	err = settings(cmd)
	return cmd.Flag(flag).Value.String(), err
}

func TestSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "headway.yaml")
	if err := os.WriteFile(file, []byte("https-port: 1111\ncluster-name: from-file\ndisable: [agent, proxy]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HEADWAY_CLUSTER_NAME", "from-environment")
	for name, c := range map[string]struct {
		flag, want string
		args       []string
	}{
		"default":                       {"service-cidr", "10.96.0.0/12", nil},
		"the environment":               {"cluster-name", "from-environment", nil},
		"a flag before the environment": {"cluster-name", "from-flag", []string{"--cluster-name=from-flag"}},
		"the environment before a file": {"cluster-name", "from-environment", []string{"--config=" + file}},
		"a file":                        {"https-port", "1111", []string{"--config=" + file}},
		"a flag before a file":          {"https-port", "2222", []string{"--config=" + file, "--https-port=2222"}},
		"a list in a file":              {"disable", "[agent,proxy]", []string{"--config=" + file}},
	} {
		if got, err := settingsOf(t, c.flag, c.args...); err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}

func TestSettingsNameWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ text, want string }{
		"unknown key": {"https-prot: 1\n", `"https-prot"`},
		"wrong type":  {"https-port: many\n", "--https-port"},
		"no YAML":     {"{", "headway.yaml"},
	} {
		file := filepath.Join(dir, "headway.yaml")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := settingsOf(t, "https-port", "--config="+file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want it to name %s", name, err, c.want)
		}
	}
}
