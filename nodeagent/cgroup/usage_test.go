package cgroup_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headway-sh/headway/nodeagent/cgroup"
	"github.com/headway-sh/headway/nodeagent/runtime"
)

func TestUsage(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		unified bool
		files   map[string]string
		want    runtime.Stats
		kills   uint64
	}{
		"version 1": {false, map[string]string{
			"cpuacct/pod/cpuacct.usage":         "1500000000\n",
			"memory/pod/memory.usage_in_bytes":  "1000\n",
			"memory/pod/memory.stat":            "cache 9\ninactive_file 1\ntotal_inactive_file 300\ntotal_rss 500\ntotal_pgfault 7\ntotal_pgmajfault 2\n",
			"memory/pod/memory.oom_control":     "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
			"pids/pod/pids.current":             "4\n",
			"memory/pod/x/memory.usage_in_byte": "1\n",
		}, runtime.Stats{CPUUsageNanoseconds: 1_500_000_000, MemoryUsage: 1000, MemoryWorkingSet: 700, MemoryRSS: 500, PageFaults: 7, MajorPageFaults: 2, Pids: 4}, 3},
		"version 2": {true, map[string]string{
			"pod/cpu.stat":       "usage_usec 1500000\nuser_usec 1\n",
			"pod/memory.current": "1000\n",
			"pod/memory.stat":    "anon 500\ninactive_file 300\npgfault 7\npgmajfault 2\n",
			"pod/memory.events":  "low 0\noom 4\noom_kill 3\n",
			"pod/pids.current":   "4\n",
		}, runtime.Stats{CPUUsageNanoseconds: 1_500_000_000, MemoryUsage: 1000, MemoryWorkingSet: 700, MemoryRSS: 500, PageFaults: 7, MajorPageFaults: 2, Pids: 4}, 3},
		"more is idle than is used": {true, map[string]string{"pod/memory.current": "1000\n", "pod/memory.stat": "inactive_file 3000\n"}, runtime.Stats{MemoryUsage: 1000}, 0},
		"gone":                      {true, nil, runtime.Stats{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			for file, text := range tc.files {
				path := filepath.Join(root, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			tree := cgroup.Tree{Mount: root, Unified: tc.unified}
			if diff := cmp.Diff(tc.want, tree.Usage("/pod")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := tree.OOMKills("/pod"); got != tc.kills {
				t.Errorf("%d OOM kills, want %d", got, tc.kills)
			}
		})
	}
}

// TestMachineUsage: this test itself uses something.
func TestMachineUsage(t *testing.T) {
	t.Parallel()
	groups, err := cgroup.New(cgroup.Config{})
	if err != nil {
		t.Skip(err)
	}
	if s := groups.MachineUsage(); s.CPUUsageNanoseconds == 0 || s.MemoryUsage == 0 || s.MemoryWorkingSet > s.MemoryUsage {
		t.Errorf("the machine uses %+v", s)
	}
}
