package daemon

import (
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// hierarchies are the roots of all cgroup trees: one with version 2, one for
// each controller with version 1.
func hierarchies() []string {
	var fs unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &fs); err == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
		return []string{cgroupRoot}
	}
	roots, err := filepath.Glob(cgroupRoot + "/*/cgroup.procs")
	if err != nil {
		return nil
	}
	for i, file := range roots {
		roots[i] = filepath.Dir(file)
	}
	return roots
}

// joinCgroup moves the process out of the agent's cgroup, so that whoever ends
// the agent by cgroup does not end it too. A hierarchy that refuses (cpuset
// wants its members set first) is left: the process then stays where it is.
func (d *Daemon) joinCgroup(pid int) {
	if d.config.Cgroup == "" {
		return
	}
	for _, root := range hierarchies() {
		dir := filepath.Join(root, d.config.Cgroup)
		err := os.MkdirAll(dir, 0o755)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
		}
		if err != nil {
			d.log.Debug("move process to its cgroup", "process", d.config.Name, "cgroup", dir, "error", err)
		}
	}
}

// leaveCgroup removes the cgroup where nothing else is in it.
func (d *Daemon) leaveCgroup() {
	if d.config.Cgroup == "" {
		return
	}
	for _, root := range hierarchies() {
		// Refused while another process (a shim) is in it: then it is that one's.
		for dir := d.config.Cgroup; dir != "/" && dir != "."; dir = filepath.Dir(dir) {
			if os.Remove(filepath.Join(root, dir)) != nil {
				break
			}
		}
	}
}
