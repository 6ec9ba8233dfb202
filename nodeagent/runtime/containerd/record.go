package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

const (
	// extension is where containerd keeps what it does not know about a container.
	extension = "headway.sh/container"
	podLabel  = "headway.sh/pod-uid"
)

// meta is what stays the same in a container's life, kept by containerd.
type meta struct {
	PodUID     string            `json:"podUID"`
	Name       string            `json:"name"`
	Attempt    int               `json:"attempt"`
	ImageRef   string            `json:"imageRef"`
	ImageID    string            `json:"imageID"`
	LogPath    string            `json:"logPath,omitempty"`
	Cgroup     string            `json:"cgroup"`
	TTY        bool              `json:"tty,omitempty"`
	Stdin      bool              `json:"stdin,omitempty"`
	StdinOnce  bool              `json:"stdinOnce,omitempty"`
	User       *runtime.User     `json:"user,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	created    time.Time
	snapshotID string
}

// life is what changes: one file a container below RunDir.
type life struct {
	Started   time.Time `json:"started"`
	Finished  time.Time `json:"finished"`
	ExitCode  int       `json:"exitCode"`
	OOMKilled bool      `json:"oomKilled,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	Message   string    `json:"message,omitempty"`
}

func (l life) state() runtime.State {
	switch {
	case !l.Finished.IsZero():
		return runtime.StateExited
	case !l.Started.IsZero():
		return runtime.StateRunning
	default:
		return runtime.StateCreated
	}
}

func (m *meta) any() (*anypb.Any, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return &anypb.Any{TypeUrl: extension, Value: text}, nil
}

// metaOf reads a container's record; nil for containers that are not ours.
func metaOf(c containers.Container) *meta {
	a := c.Extensions[extension]
	if a == nil {
		return nil
	}
	m := &meta{created: c.CreatedAt, snapshotID: c.SnapshotKey}
	if json.Unmarshal(a.GetValue(), m) != nil {
		return nil
	}
	return m
}

func (r *Runtime) lifePath(id string) string {
	return filepath.Join(r.config.RunDir, "containers", id+".json")
}

func (r *Runtime) readLife(id string) (l life, err error) {
	err = readJSON(r.lifePath(id), &l)
	if errors.Is(err, fs.ErrNotExist) {
		return life{}, nil
	}
	return l, err
}

func (r *Runtime) forgetLife(id string) error {
	if err := os.Remove(r.lifePath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// errUnknown says that containerd has no such container.
var errUnknown = errors.New("container does not exist")

// lookup finds a container's record; errUnknown.
func (r *Runtime) lookup(ctx context.Context, id string) (*meta, error) {
	r.mu.Lock()
	m := r.known[id]
	r.mu.Unlock()
	if m != nil {
		return m, nil
	}
	c, err := r.client.ContainerService().Get(r.in(ctx), id)
	if errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("container %q: %w", id, errUnknown)
	}
	if err != nil {
		return nil, fmt.Errorf("container %q: %w", id, err)
	}
	if m = metaOf(c); m == nil {
		return nil, fmt.Errorf("container %q: %w", id, errUnknown)
	}
	r.learn(id, m)
	return m, nil
}

func (r *Runtime) learn(id string, m *meta) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known[id] = m
}

func (r *Runtime) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, id)
	delete(r.rootfs, id)
}

// podContainers are the pod's containers that containerd knows.
func (r *Runtime) podContainers(ctx context.Context, uid string) ([]string, error) {
	list, err := r.client.ContainerService().List(r.in(ctx), fmt.Sprintf("labels.%q==%q", podLabel, uid))
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var ids []string
	for _, c := range list {
		if m := metaOf(c); m != nil {
			r.learn(c.ID, m)
			ids = append(ids, c.ID)
		}
	}
	return ids, nil
}
