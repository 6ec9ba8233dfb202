package main

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/test/bench/figure"
	"github.com/headway-sh/headway/test/bench/rig"
)

const deployments = 20

// measurePods times a Deployment of one pod from before its creation until a
// watch sees the pod ready, with the steps between.
func measurePods(ctx context.Context, b *bench) error {
	c, err := b.up(ctx)
	if err != nil {
		return err
	}
	w, err := watchPods(ctx, c.client)
	if err != nil {
		return err
	}
	defer w.Stop()
	floor, err := newFloors(ctx, c.dir, c.image)
	if err != nil {
		return err
	}
	defer floor.runtime.Close()
	var steps [4][]time.Duration
	before, err := figure.CPUTime(c.cmd.Process.Pid)
	if err != nil {
		return err
	}
	for i := range deployments {
		took, err := c.deploy(ctx, w, fmt.Sprintf("made-%d", i))
		if err != nil {
			return err
		}
		for k := range steps {
			steps[k] = append(steps[k], took[k])
		}
		if err := c.settled(ctx); err != nil {
			return err
		}
		if err := floor.take(ctx); err != nil {
			return err
		}
	}
	after, err := figure.CPUTime(c.cmd.Process.Pid)
	if err != nil {
		return err
	}
	b.report.Times("Deployment created → its pod Ready", steps[3], "Kubernetes 1.36: 0.69 s", "≤ 300 ms p50")
	b.report.Times("  until the pod is created", steps[0], "", "")
	b.report.Times("  until it is bound", steps[1], "", "")
	b.report.Times("  until it is Running", steps[2], "", "")
	bound := make([]time.Duration, deployments)
	for i := range bound {
		bound[i] = steps[3][i] - steps[1][i]
	}
	b.report.Times("  bound → Ready", bound, "", "≤ floor + 100 ms")
	b.report.Times("  containerd + runc alone, in between", floor.all, "70–90 ms", "")
	b.report.Value("  CPU time of the server for each", figure.Milliseconds((after-before)/deployments), "", "")
	return nil
}

// deploy gives the times from before the creation of a Deployment until a watch
// has seen its pod created, bound, running and ready.
func (c *cluster) deploy(ctx context.Context, w *rig.Watcher, name string) ([4]time.Duration, error) {
	var took [4]time.Duration
	labels := map[string]string{"app": name}
	one := int32(1)
	begin := time.Now()
	err := c.client.Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: c.image, ImagePullPolicy: corev1.PullNever}}},
			},
		},
	})
	if err != nil {
		return took, err
	}
	reached := []func(*corev1.Pod) bool{
		func(*corev1.Pod) bool { return true },
		func(p *corev1.Pod) bool { return p.Spec.NodeName != "" },
		func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning },
		podReady,
	}
	_, err = w.Next(ctx, "pod of "+name, func(s rig.Seen) bool {
		pod := s.Object.(*corev1.Pod)
		if pod.Labels["app"] != name {
			return false
		}
		for i, is := range reached {
			if took[i] == 0 && is(pod) {
				took[i] = s.At.Sub(begin)
			}
		}
		return took[3] != 0
	})
	return took, err
}

func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}
