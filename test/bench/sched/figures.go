package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/test/bench/figure"
	"github.com/headway-sh/headway/test/bench/rig"
)

// podSpec tolerates that hollow nodes are thought lost: they have no stream of
// heartbeats.
func podSpec() corev1.PodSpec {
	return corev1.PodSpec{Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}}, Containers: []corev1.Container{{Name: "c", Image: "hollow:1", Resources: corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("16Mi")}}}}}
}

// bind creates pods one by one and waits until all are bound.
func (b *bench) bind(ctx context.Context) (err error) {
	c, err := b.start(ctx, "bind")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.end()) }()
	before, err := c.server.CPUTime()
	if err != nil {
		return err
	}
	begin := time.Now()
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(b.writers + 1) // one awaits the others'
	group.Go(func() error { return c.await(inner, c.bound, b.pods) })
	for i := range b.pods {
		group.Go(func() error {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("pod-", i), Labels: map[string]string{"app": "bench"}}, Spec: podSpec()}
			_, err := c.api.CoreV1().Pods(metav1.NamespaceDefault).Create(inner, pod, metav1.CreateOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	took := time.Since(begin)
	after, err := c.server.CPUTime()
	if err != nil {
		return err
	}
	name := fmt.Sprintf("created → bound over HTTPS, %d nodes", b.nodes)
	b.report.Mean(name, fmt.Sprintf("%.0f/s", float64(b.pods)/took.Seconds()), b.pods, "276/s", "≥ 2,000/s")
	b.report.Mean("CPU of the server a pod, statuses included", figure.Milliseconds((after-before)/time.Duration(b.pods)), b.pods, "8.4 ms", "≤ 0.7 ms")
	if err := c.await(ctx, c.running, b.pods); err != nil {
		return err
	}
	if err := c.server.Settled(ctx); err != nil {
		return err
	}
	total, _, err := c.server.Collected(ctx)
	if err != nil {
		return err
	}
	b.report.Value(fmt.Sprintf("memory, %d nodes and %d pods", b.nodes, b.pods), figure.Megabytes(total), "890 MB", "≤ 250 MB")
	return nil
}

// deployment creates one Deployment and waits until all its pods are bound, and
// until all say that they run.
func (b *bench) deployment(ctx context.Context) (err error) {
	c, err := b.start(ctx, "deployment")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.end()) }()
	labels := map[string]string{"app": "bench"}
	replicas := int32(b.replicas)
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "bench"}}
	d.Spec = appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podSpec()}}
	before, err := c.server.CPUTime()
	if err != nil {
		return err
	}
	begin := time.Now()
	if _, err := c.api.AppsV1().Deployments(metav1.NamespaceDefault).Create(ctx, d, metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := c.await(ctx, c.bound, b.replicas); err != nil {
		return err
	}
	name := fmt.Sprintf("Deployment of %d replicas, %d nodes: ", b.replicas, b.nodes)
	b.report.Value(name+"all bound", figure.Milliseconds(time.Since(begin)), "", "")
	if err := c.await(ctx, c.running, b.replicas); err != nil {
		return err
	}
	b.report.Value(name+"all running, statuses included", figure.Milliseconds(time.Since(begin)), "", "≤ 8 s")
	after, err := c.server.CPUTime()
	if err != nil {
		return err
	}
	b.report.Mean(name+"CPU of the server a pod", figure.Milliseconds((after-before)/time.Duration(b.replicas)), b.replicas, "", "")
	return nil
}

// await takes so many different names.
func (c *cluster) await(ctx context.Context, names <-chan string, n int) error {
	seen := map[string]bool{}
	for len(seen) < n {
		late := time.NewTimer(rig.Patience)
		select {
		case name := <-names:
			seen[name] = true
		case err := <-c.failed:
			return fmt.Errorf("hollow nodes: %w", err)
		case <-late.C:
			return fmt.Errorf("%d of %d pods, and none for %v; of those that wait: %s", len(seen), n, rig.Patience, c.why(ctx))
		case <-ctx.Done():
			late.Stop()
			return ctx.Err()
		}
		late.Stop()
	}
	return nil
}

// why is what the scheduler says about one of the pods that wait.
func (c *cluster) why(ctx context.Context) string {
	list, err := c.api.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=", Limit: 1})
	if err != nil || len(list.Items) == 0 {
		return fmt.Sprint("none: ", err)
	}
	for _, condition := range list.Items[0].Status.Conditions {
		if condition.Type == corev1.PodScheduled {
			return condition.Message
		}
	}
	return "nothing is said"
}
