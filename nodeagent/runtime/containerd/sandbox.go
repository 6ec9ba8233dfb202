package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

// shmSize is /dev/shm's default for containers.
const shmSize = "size=67108864,mode=1777"

// sandboxRecord is sandbox.json.
type sandboxRecord struct {
	Config  runtime.SandboxConfig
	Created time.Time
	// Holder is the first process of a shared process namespace.
	Holder int `json:",omitempty"`
}

// validUID keeps a pod's UID one path element.
var validUID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

func (r *Runtime) podDir(uid string) string { return filepath.Join(r.config.RunDir, "pods", uid) }

func pinsOf(c runtime.SandboxConfig) pins {
	return pins{net: !c.HostNetwork, ipc: !c.HostIPC, uts: !c.HostNetwork}
}

func sharesPID(c runtime.SandboxConfig) bool { return c.ShareProcessNamespace && !c.HostPID }

// StartSandbox implements runtime.Interface.
func (r *Runtime) StartSandbox(ctx context.Context, config runtime.SandboxConfig) (runtime.Sandbox, error) {
	if !validUID.MatchString(config.PodUID) {
		return runtime.Sandbox{}, fmt.Errorf("start sandbox: pod UID %q is not valid", config.PodUID)
	}
	if err := ctx.Err(); err != nil {
		return runtime.Sandbox{}, err
	}
	defer r.pods.lock(config.PodUID)()
	dir := r.podDir(config.PodUID)
	record, err := readSandbox(dir)
	if err == nil && r.sandboxReady(dir, record) {
		return r.sandbox(dir, record), nil
	}
	if err := unmountBelow(dir); err != nil {
		return runtime.Sandbox{}, fmt.Errorf("start sandbox %q: %w", config.PodUID, err)
	}
	record = sandboxRecord{Config: config, Created: r.clock.Now()}
	if err := makeSandbox(dir, &record); err != nil {
		return runtime.Sandbox{}, errors.Join(fmt.Errorf("start sandbox %q: %w", config.PodUID, err), unmountBelow(dir))
	}
	return r.sandbox(dir, record), nil
}

func makeSandbox(dir string, record *sandboxRecord) (err error) {
	config := record.Config
	if err := os.MkdirAll(filepath.Join(dir, "shm"), 0o711); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "hostname"), []byte(config.Hostname+"\n"), 0o644); err != nil {
		return err
	}
	if err := pinNamespaces(dir, pinsOf(config), config.Hostname, config.Sysctls); err != nil {
		return err
	}
	if sharesPID(config) {
		if record.Holder, err = startHolder(dir); err != nil {
			return err
		}
	}
	if !config.HostIPC {
		if err := unix.Mount("shm", filepath.Join(dir, "shm"), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, shmSize); err != nil {
			return fmt.Errorf("mount shm: %w", err)
		}
	}
	return writeJSON(filepath.Join(dir, "sandbox.json"), record)
}

func (r *Runtime) sandboxReady(dir string, record sandboxRecord) bool {
	return pinned(dir, pinsOf(record.Config)) && (!sharesPID(record.Config) || holds(dir, record.Holder))
}

func (r *Runtime) sandbox(dir string, record sandboxRecord) runtime.Sandbox {
	c := record.Config
	s := runtime.Sandbox{
		PodUID: c.PodUID, PodName: c.PodName, PodNamespace: c.PodNamespace,
		Ready: r.sandboxReady(dir, record), Created: record.Created, Labels: c.Labels,
	}
	if !c.HostNetwork {
		s.NetNS = filepath.Join(dir, "net")
	}
	return s
}

func (r *Runtime) sandboxes() ([]runtime.Sandbox, error) {
	dirs, err := filepath.Glob(filepath.Join(r.config.RunDir, "pods", "*", "sandbox.json"))
	if err != nil {
		return nil, err
	}
	var list []runtime.Sandbox
	for _, file := range dirs {
		dir := filepath.Dir(file)
		record, err := readSandbox(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed just now
		}
		if err != nil {
			return nil, err
		}
		list = append(list, r.sandbox(dir, record))
	}
	return list, nil
}

// StopSandbox implements runtime.Interface.
func (r *Runtime) StopSandbox(ctx context.Context, podUID string) error {
	if !validUID.MatchString(podUID) {
		return nil
	}
	defer r.pods.lock(podUID)()
	ids, err := r.podContainers(ctx, podUID)
	if err != nil {
		return fmt.Errorf("stop sandbox %q: %w", podUID, err)
	}
	for _, id := range ids {
		if err := r.kill(ctx, id, unix.SIGKILL, true); err != nil {
			return fmt.Errorf("stop sandbox %q: %w", podUID, err)
		}
	}
	for _, id := range ids {
		if err := r.awaitExit(ctx, id); err != nil {
			return fmt.Errorf("stop sandbox %q: %w", podUID, err)
		}
	}
	dir := r.podDir(podUID)
	if record, err := readSandbox(dir); err == nil {
		if err := stopHolder(dir, record.Holder); err != nil {
			return fmt.Errorf("stop sandbox %q: %w", podUID, err)
		}
	}
	if err := unmountBelow(dir); err != nil {
		return fmt.Errorf("stop sandbox %q: %w", podUID, err)
	}
	return nil
}

// RemoveSandbox implements runtime.Interface.
func (r *Runtime) RemoveSandbox(ctx context.Context, podUID string) error {
	if err := r.StopSandbox(ctx, podUID); err != nil {
		return err
	}
	if !validUID.MatchString(podUID) {
		return nil
	}
	defer r.pods.lock(podUID)()
	ids, err := r.podContainers(ctx, podUID)
	if err != nil {
		return fmt.Errorf("remove sandbox %q: %w", podUID, err)
	}
	for _, id := range ids {
		if err := r.remove(ctx, id); err != nil {
			return fmt.Errorf("remove sandbox %q: %w", podUID, err)
		}
	}
	if err := r.forgetImages(ctx, podUID); err != nil {
		return fmt.Errorf("remove sandbox %q: %w", podUID, err)
	}
	dir := r.podDir(podUID)
	record, err := readSandbox(dir)
	if err == nil {
		removeCgroup(record.Config.CgroupParent)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove sandbox %q: %w", podUID, err)
	}
	return nil
}

func readSandbox(dir string) (record sandboxRecord, err error) {
	err = readJSON(filepath.Join(dir, "sandbox.json"), &record)
	return record, err
}

func readJSON(path string, to any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, to); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// writeJSON replaces the file as a whole. It is not synced: what it says does
// not outlive the machine's running.
func writeJSON(path string, from any) error {
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	next := path + ".next"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}
