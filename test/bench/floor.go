package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
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

func newFloors(ctx context.Context, dir, name string) (*floors, error) {
	runtime, err := containerd.New(filepath.Join(dir, "run", "containerd", "containerd.sock"))
	if err != nil {
		return nil, err
	}
	image, err := runtime.GetImage(namespaces.WithNamespace(ctx, "headway"), name)
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

// crowd runs many containers at once, some at a time as the agent does, and
// tells how long it took until all had been started.
func (f *floors) crowd(ctx context.Context, n, atOnce int) (time.Duration, error) {
	ctx = namespaces.WithNamespace(ctx, "headway")
	begin, errs := time.Now(), make(chan error, n)
	var group sync.WaitGroup
	places := make(chan struct{}, atOnce)
	stop := make(chan struct{})
	started := make(chan struct{}, n)
	for i := range n {
		group.Go(func() {
			places <- struct{}{}
			errs <- f.hold(ctx, fmt.Sprintf("crowd-floor-%d", i), started, places, stop)
		})
	}
	for range n {
		select {
		case <-started:
		case err := <-errs:
			close(stop)
			group.Wait()
			return 0, err
		}
	}
	took := time.Since(begin)
	close(stop)
	group.Wait()
	close(errs)
	var all error
	for err := range errs {
		all = errors.Join(all, err)
	}
	return took, all
}

// hold starts a container, says so, and removes it when it is told to.
func (f *floors) hold(ctx context.Context, id string, started chan<- struct{}, places <-chan struct{}, stop <-chan struct{}) (err error) {
	container, task, exited, err := begin(ctx, f.runtime, f.image, id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, container.Delete(ctx, containerd.WithSnapshotCleanup)) }()
	started <- struct{}{}
	<-places
	<-stop
	if err := task.Kill(ctx, syscall.SIGKILL); err != nil {
		return err
	}
	<-exited
	_, err = task.Delete(ctx)
	return err
}

func begin(ctx context.Context, runtime *containerd.Client, image containerd.Image, id string) (containerd.Container, containerd.Task, <-chan containerd.ExitStatus, error) {
	container, err := runtime.NewContainer(ctx, id, containerd.WithNewSnapshot(id, image), containerd.WithNewSpec(oci.WithImageConfig(image), oci.WithCgroup("/headway/bench/"+id)))
	if err != nil {
		return nil, nil, nil, err
	}
	task, err := container.NewTask(ctx, cio.NullIO)
	if err != nil {
		return nil, nil, nil, errors.Join(err, container.Delete(ctx, containerd.WithSnapshotCleanup))
	}
	exited, err := task.Wait(ctx)
	if err == nil {
		err = task.Start(ctx)
	}
	return container, task, exited, err
}

func floor(ctx context.Context, runtime *containerd.Client, image containerd.Image, id string) (_ time.Duration, err error) {
	at := time.Now()
	container, task, exited, err := begin(ctx, runtime, image, id)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, container.Delete(ctx, containerd.WithSnapshotCleanup)) }()
	took := time.Since(at)
	if err := task.Kill(ctx, syscall.SIGKILL); err != nil {
		return 0, err
	}
	<-exited
	_, err = task.Delete(ctx)
	return took, err
}
