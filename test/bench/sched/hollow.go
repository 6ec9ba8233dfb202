package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/test/bench/rig"
)

// How often a node says that it lives, and for how long it is believed.
const (
	renewal      = 10 * time.Second
	leaseSeconds = 40
)

// kubelets is how many requests of hollow nodes are under way at once.
const kubelets = 32

// cluster is a server with hollow nodes.
type cluster struct {
	*bench
	server *rig.Process
	api    kubernetes.Interface
	hollow *errgroup.Group
	stop   context.CancelFunc
	// bound and running tell about pods as the hollow nodes see them.
	bound, running chan string
	// failed is why the nodes have ended early.
	failed chan error
}

// start runs a server and the nodes, and waits until all are there.
func (b *bench) start(ctx context.Context, name string) (*cluster, error) {
	server, err := rig.Start(ctx, b.binary, filepath.Join(b.dir, name), b.verbose, "--disable", "gitsource,agent", "--pod-cidr", "10.0.0.0/8")
	if err != nil {
		return nil, err
	}
	config := rest.CopyConfig(server.Config)
	config.QPS, config.ContentType = -1, "application/vnd.kubernetes.protobuf"
	c := &cluster{bench: b, server: server, bound: make(chan string, 1<<16), running: make(chan string, 1<<16), failed: make(chan error, 2)}
	if c.api, err = kubernetes.NewForConfig(config); err != nil {
		return nil, errors.Join(err, server.End())
	}
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(kubelets)
	for i := range b.nodes {
		group.Go(func() error { return c.register(inner, i) })
	}
	if err := group.Wait(); err != nil {
		return nil, errors.Join(err, server.End())
	}
	inner, c.stop = context.WithCancel(ctx)
	c.hollow, inner = errgroup.WithContext(inner)
	for _, part := range []func(context.Context) error{c.live, c.work} {
		c.hollow.Go(func() error {
			if err := part(inner); err != nil {
				c.failed <- err
				return err
			}
			return nil
		})
	}
	if err := server.Settled(ctx); err != nil {
		return nil, errors.Join(err, c.end())
	}
	return c, nil
}

// end stops the nodes and the server.
func (c *cluster) end() error {
	c.stop()
	err := c.hollow.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, c.server.End())
}

func nodeName(i int) string { return fmt.Sprintf("hollow-%05d", i) }

// register makes a node of eight cores in one of three zones, and its Lease.
func (c *cluster) register(ctx context.Context, i int) error {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName(i), Labels: map[string]string{
		corev1.LabelHostname: nodeName(i), corev1.LabelTopologyZone: fmt.Sprint("zone-", i%3), corev1.LabelOSStable: "linux"}}}
	n.Status.Capacity = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("32Gi"), corev1.ResourcePods: resource.MustParse("110")}
	n.Status.Allocatable = n.Status.Capacity
	now := metav1.Now()
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: now, LastTransitionTime: now}}
	made, err := c.api.CoreV1().Nodes().Create(ctx, n, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create node: %w", err)
	}
	made.Status = n.Status
	if _, err := c.api.CoreV1().Nodes().UpdateStatus(ctx, made, metav1.UpdateOptions{}); err != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("write status of node %q: %w", n.Name, err)
	}
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: n.Name}}
	lease.Spec = coordinationv1.LeaseSpec{HolderIdentity: &n.Name, LeaseDurationSeconds: ptr.To(int32(leaseSeconds)), RenewTime: ptr.To(metav1.NowMicro())}
	if _, err := c.api.CoordinationV1().Leases(corev1.NamespaceNodeLease).Create(ctx, lease, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create lease: %w", err)
	}
	return nil
}

// live renews every node's Lease, evenly over the time.
func (c *cluster) live(ctx context.Context) error {
	tick := time.NewTicker(renewal / time.Duration(c.nodes))
	defer tick.Stop()
	for i := 0; ; i = (i + 1) % c.nodes {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		patch := fmt.Appendf(nil, `{"spec":{"renewTime":%q}}`, time.Now().UTC().Format(metav1.RFC3339Micro))
		_, err := c.api.CoordinationV1().Leases(corev1.NamespaceNodeLease).Patch(ctx, nodeName(i), "application/merge-patch+json", patch, metav1.PatchOptions{})
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("renew lease: %w", err)
		}
	}
}

// work says of every pod that is bound that it runs.
func (c *cluster) work(ctx context.Context) error {
	watch, err := c.api.CoreV1().Pods("").Watch(ctx, metav1.ListOptions{ResourceVersion: "0", FieldSelector: "spec.nodeName!="})
	if err != nil {
		return fmt.Errorf("watch pods: %w", err)
	}
	defer watch.Stop()
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(kubelets)
	for event := range watch.ResultChan() {
		pod, ok := event.Object.(*corev1.Pod)
		if !ok || pod.Spec.NodeName == "" {
			continue
		}
		if pod.Status.Phase == corev1.PodRunning {
			if err := tell(inner, c.running, pod.Name); err != nil {
				break
			}
			continue
		}
		if pod.Status.StartTime == nil && event.Type != "DELETED" {
			if err := tell(inner, c.bound, pod.Name); err != nil {
				break
			}
			group.Go(func() error { return c.runs(inner, pod) })
		}
	}
	if err := group.Wait(); err != nil || ctx.Err() != nil {
		return err
	}
	return errors.New("the watch of pods has ended")
}

// tell waits for room, but no longer than anybody is interested.
func tell(ctx context.Context, to chan<- string, name string) error {
	select {
	case to <- name:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// runs writes a pod's status as its agent would.
func (c *cluster) runs(ctx context.Context, pod *corev1.Pod) error {
	p := pod.DeepCopy()
	now := metav1.Now()
	p.Status.Phase, p.Status.StartTime, p.Status.PodIP, p.Status.HostIP = corev1.PodRunning, &now, "10.0.0.1", "10.0.0.1"
	p.Status.PodIPs = []corev1.PodIP{{IP: p.Status.PodIP}}
	for _, t := range []corev1.PodConditionType{corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: t, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}
	for _, container := range p.Spec.Containers {
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: container.Name, Image: container.Image, Ready: true,
			Started: ptr.To(true), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}})
	}
	_, err := c.api.CoreV1().Pods(p.Namespace).UpdateStatus(ctx, p, metav1.UpdateOptions{})
	if err != nil && ctx.Err() == nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return fmt.Errorf("write status of pod %q: %w", p.Name, err)
	}
	return nil
}
