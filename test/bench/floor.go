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

const floors = 10

// measureFloor times what containerd and runc need for one container without
// network, volumes or anything else around it: the least that a pod can take.
func measureFloor(ctx context.Context, b *bench) error {
	c, err := b.up(ctx)
	if err != nil {
		return err
	}
	runtime, err := containerd.New(filepath.Join(c.dir, "run", "containerd", "containerd.sock"))
	if err != nil {
		return err
	}
	defer runtime.Close()
	ctx = namespaces.WithNamespace(ctx, "headway")
	image, err := runtime.GetImage(ctx, c.image)
	if err != nil {
		return err
	}
	var all []time.Duration
	for i := range floors + 1 {
		took, err := floor(ctx, runtime, image, fmt.Sprintf("floor-%d", i))
		if err != nil {
			return err
		}
		if i > 0 {
			all = append(all, took)
		}
	}
	b.report.times("containerd + runc alone, one container", all, "70–90 ms", "")
	return nil
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
