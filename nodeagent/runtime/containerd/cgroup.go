package containerd

import (
	"os"
	"path/filepath"

	"github.com/headway-sh/headway/nodeagent/cgroup"
)

func (h hostFacts) cgroups() cgroup.Tree { return cgroup.Tree{Mount: cgroupRoot, Unified: h.cgroup2} }

// removeCgroup removes the pod's cgroup from every hierarchy. One that is in
// use or gone is left: its user or remover is responsible.
func removeCgroup(path string) {
	path = filepath.Clean("/" + path)
	if path == "/" {
		return
	}
	roots, err := filepath.Glob(cgroupRoot + "/*" + path)
	if err != nil {
		return
	}
	for _, dir := range append(roots, filepath.Join(cgroupRoot, path)) {
		_ = os.Remove(dir)
	}
}
