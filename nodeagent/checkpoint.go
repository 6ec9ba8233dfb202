package nodeagent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// checkpoints keep the node's pods with their last status on disk, so that an
// agent that starts without the API knows what runs here. A file is whole or
// absent after a crash.
type checkpoints struct{ dir string }

func (c *checkpoints) path(uid types.UID) string {
	return filepath.Join(c.dir, string(uid), "pod.json")
}

// load reads all. One that cannot be read is an error: to forget a pod would
// leave its containers without a master.
func (c *checkpoints) load() ([]*corev1.Pod, error) {
	entries, err := os.ReadDir(c.dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("read checkpoints: %w", err)
	}
	var pods []*corev1.Pod
	for _, e := range entries {
		data, err := os.ReadFile(c.path(types.UID(e.Name())))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read checkpoint: %w", err)
		}
		pod := &corev1.Pod{}
		if err := json.Unmarshal(data, pod); err != nil {
			return nil, fmt.Errorf("read checkpoint of pod %s: %w", e.Name(), err)
		}
		if string(pod.UID) != e.Name() {
			return nil, fmt.Errorf("read checkpoint: directory %s holds pod %s", e.Name(), pod.UID)
		}
		pods = append(pods, pod)
	}
	return pods, nil
}

func (c *checkpoints) save(pod *corev1.Pod) error {
	data, err := json.Marshal(pod)
	if err != nil {
		return fmt.Errorf("encode checkpoint: %w", err)
	}
	path := c.path(pod.UID)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".pod-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	_, err = file.Write(data)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write checkpoint: %w", err), ignoreMissing(os.Remove(file.Name())))
	}
	return nil
}

// remove forgets the pod and everything in its directory; its volumes have to
// be down.
func (c *checkpoints) remove(uid types.UID) error {
	return os.RemoveAll(filepath.Join(c.dir, string(uid)))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func ignoreMissing(err error) error {
	if os.IsNotExist(err) {
		return nil
	}
	return err
}
