package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/test/bench/rig"
)

const (
	pushes    = 20
	podPushes = 10
)

func settingsFile(value int) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: default}\ndata: {value: %q}\n", fmt.Sprint(value))
}

func podFile(name, image string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: default}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers:\n  - {name: web, image: %q, imagePullPolicy: Never}\n", name, image)
}

// measurePush times a push of a changed ConfigMap and of a new pod, from the
// return of `git push`. A commit may well be seen before git's process ends:
// then the time is less than nothing.
func measurePush(ctx context.Context, b *bench) error {
	c, err := b.up(ctx)
	if err != nil {
		return err
	}
	var visible, whole []time.Duration
	maps, err := rig.Watch(ctx, c.client, &corev1.ConfigMapList{}, client.InNamespace("default"), client.MatchingFields{"metadata.name": "settings"})
	if err != nil {
		return err
	}
	defer maps.Stop()
	for i := range pushes + 1 {
		began, returned, err := c.repo.Push(ctx, map[string]string{"settings.yaml": settingsFile(i)})
		if err != nil {
			return err
		}
		at, err := maps.Await(ctx, "the pushed ConfigMap", func(o client.Object) bool {
			return o.(*corev1.ConfigMap).Data["value"] == fmt.Sprint(i)
		})
		if err != nil {
			return err
		}
		if i > 0 { // the first one also finds the branch for the first time
			visible, whole = append(visible, at.Sub(returned)), append(whole, at.Sub(began))
		}
		if err := c.settled(ctx); err != nil {
			return err
		}
	}
	b.report.Times("git push returns → ConfigMap visible", visible, "Flux 1.9 by webhook: 0.6 s", "≤ 60 ms")
	b.report.Times("  from the start of git push", whole, "", "")
	return b.measurePodPush(ctx, c)
}

func (b *bench) measurePodPush(ctx context.Context, c *cluster) error {
	var running []time.Duration
	removed := map[string]string{}
	pods, err := watchPods(ctx, c.client)
	if err != nil {
		return err
	}
	defer pods.Stop()
	for i := range podPushes {
		name := fmt.Sprintf("pushed-%d", i)
		_, returned, err := c.repo.Push(ctx, map[string]string{name + ".yaml": podFile(name, c.image)})
		if err != nil {
			return err
		}
		at, err := pods.Await(ctx, "the pushed pod to run", func(o client.Object) bool {
			return o.GetName() == name && o.(*corev1.Pod).Status.Phase == corev1.PodRunning
		})
		if err != nil {
			return err
		}
		removed[name+".yaml"] = ""
		running = append(running, at.Sub(returned))
		if err := c.settled(ctx); err != nil {
			return err
		}
	}
	b.report.Times("git push returns → new pod Running", running, "", "≤ 500 ms")
	_, _, err = c.repo.Push(ctx, removed)
	return err
}
