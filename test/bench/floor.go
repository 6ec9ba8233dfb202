package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
)

// floors times what containerd and runc need for one container without
// network, volumes or anything else around it: the least that a pod can take.
// It is taken beside what it is compared with, on a machine as busy.
type floors struct {
	runtime *containerd.Client
	image   containerd.Image
	all     []time.Duration
}

func newFloors(ctx context.Context, c *cluster) (*floors, error) {
	runtime, err := containerd.New(filepath.Join(c.dir, "run", "containerd", "containerd.sock"))
	if err != nil {
		return nil, err
	}
	image, err := runtime.GetImage(namespaces.WithNamespace(ctx, "headway"), c.image)
	if err != nil {
		return nil, errors.Join(err, runtime.Close())
	}
	return &floors{runtime: runtime, image: image}, nil
}

func (f *floors) take(ctx context.Context) error {
	took, err := floor(namespaces.WithNamespace(ctx, "headway"), f.runtime, f.image, fmt.Sprintf("floor-%d", len(f.all)))
	f.all = append(f.all, took)
	return err
}

func floor(ctx context.Context, runtime *containerd.Client, image containerd.Image, id string) (_ time.Duration, err error) {
	begin := time.Now()
	container, err := runtime.NewContainer(ctx, id, containerd.WithNewSnapshot(id, image), containerd.WithNewSpec(oci.WithImageConfig(image), oci.WithCgroup("/headway/bench/"+id)))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, container.Delete(ctx, containerd.WithSnapshotCleanup)) }()
	task, err := container.NewTask(ctx, cio.NullIO)
	if err != nil {
		return 0, err
	}
	exited, err := task.Wait(ctx)
	if err != nil {
		return 0, err
	}
	if err := task.Start(ctx); err != nil {
		return 0, err
	}
	took := time.Since(begin)
	if err := task.Kill(ctx, syscall.SIGKILL); err != nil {
		return 0, err
	}
	<-exited
	_, err = task.Delete(ctx)
	return took, err
}
