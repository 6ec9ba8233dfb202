package containerd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/log"
	"google.golang.org/grpc"
)

// busy are shims that do not answer in time.
type busy struct{ tasks.TasksClient }

func (busy) Get(context.Context, *tasks.GetRequest, ...grpc.CallOption) (*tasks.GetResponse, error) {
	return &tasks.GetResponse{Process: &tasktypes.Process{ID: "c", Status: tasktypes.Status_UNKNOWN}}, nil
}

// TestExitIsNotLostOnABusyMachine: that a shim does not tell in time how its
// container is does not mean that it runs. A pod stayed for good when its
// container's exit was taken for that.
func TestExitIsNotLostOnABusyMachine(t *testing.T) {
	t.Parallel()
	r := &Runtime{config: Config{RunDir: t.TempDir(), Namespace: "n"}, tasks: busy{}, quiet: log.L, known: map[string]*meta{"c": {PodUID: "p"}}}
	if err := os.Mkdir(filepath.Join(r.config.RunDir, "containers"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeJSON(r.lifePath("c"), life{Started: time.Unix(1, 0)}); err != nil {
		t.Fatal(err)
	}
	if err := r.settle(t.Context(), "c"); !errors.Is(err, errNoAnswer) {
		t.Errorf("error %v, want one that is tried again", err)
	}
}
