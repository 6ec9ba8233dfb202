package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/test/bench/rig"
)

// apart is a server without an agent and an agent in a process of its own, as
// on another machine.
type apart struct {
	*cluster
	nodeDir string
	agent   *exec.Cmd
}

// apart gives the cluster that the groups about a node share.
func (b *bench) apart(ctx context.Context) (*apart, error) {
	if b.node != nil {
		return b.node, nil
	}
	a := &apart{cluster: newCluster(b, filepath.Join(b.dir, "s"), "--disable", "agent,gitsource"), nodeDir: filepath.Join(b.dir, "n")}
	if err := a.start(ctx); err != nil {
		return nil, err
	}
	b.node = a
	if err := a.startAgent(); err != nil {
		return nil, err
	}
	return a, a.prepare(ctx)
}

func (a *apart) startAgent() error {
	token, err := os.ReadFile(filepath.Join(a.dir, "token"))
	if err != nil {
		return err
	}
	log, err := os.OpenFile(a.nodeDir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	a.agent = exec.Command(a.bench.binary, "agent", "--server", "https://"+address+":"+port, "--data-dir", a.nodeDir, "--node-name", "node", "--gossip-port", "7947")
	a.agent.Stdout, a.agent.Stderr = log, log
	a.agent.Env = append(rig.Environment(), "HEADWAY_TOKEN="+strings.TrimSpace(string(token)), "HEADWAY_PPROF="+a.nodeDir+".pprof")
	return a.agent.Start()
}

// prepare connects, waits for the node, and loads the image.
func (a *apart) prepare(ctx context.Context) error {
	if err := a.connect(); err != nil {
		return err
	}
	w, err := rig.Watch(ctx, a.client, &corev1.NodeList{})
	if err != nil {
		return err
	}
	defer w.Stop()
	if _, err := w.Await(ctx, "node ready", func(o client.Object) bool { return nodeReady(o.(*corev1.Node)) }); err != nil {
		return err
	}
	out, err := a.run(ctx, "image", "load", "--data-dir", a.nodeDir, a.bench.options.image)
	if err != nil {
		return err
	}
	a.image, _, _ = strings.Cut(out, "\n")
	return rig.Poll(ctx, 20*time.Millisecond, func() error {
		return a.client.Get(ctx, client.ObjectKey{Namespace: "default", Name: "default"}, &corev1.ServiceAccount{})
	})
}

// stop ends all: the pods, the agent, and the server.
func (a *apart) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := a.clearPods(ctx)
	if a.agent != nil {
		err = errors.Join(err, a.agent.Process.Signal(syscall.SIGTERM), a.agent.Wait())
	}
	if err := errors.Join(err, a.end()); err != nil {
		fmt.Fprintln(os.Stderr, "bench: end the node:", err)
	}
}

// pod makes the object of a pod that runs until it is stopped.
func (a *apart) pod(name string) *corev1.Pod {
	grace := int64(1)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{Name: "web", Image: a.image, ImagePullPolicy: corev1.PullNever}}},
	}
}

// clearPods deletes all pods and waits until the node has let go of them.
func (a *apart) clearPods(ctx context.Context) error {
	if a.client == nil {
		return nil
	}
	if err := a.client.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace("default")); err != nil {
		return err
	}
	return rig.Poll(ctx, 20*time.Millisecond, func() error {
		var pods corev1.PodList
		if err := a.client.List(ctx, &pods); err != nil {
			return err
		}
		if n := len(pods.Items); n > 0 {
			return fmt.Errorf("%d pods are left", n)
		}
		return nil
	})
}
