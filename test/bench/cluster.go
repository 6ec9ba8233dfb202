package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/test/bench/rig"
)

const (
	port = "6443"
	// pollEvery is the resolution of what cannot be watched.
	pollEvery = time.Millisecond
)

// cluster is one server with its agent.
type cluster struct {
	bench  *bench
	dir    string
	flags  []string
	cmd    *exec.Cmd
	client client.WithWatch
	repo   *rig.Repository
	image  string // the loaded image's name
}

func newCluster(b *bench, dir string, flags ...string) *cluster {
	return &cluster{bench: b, dir: dir, flags: flags}
}

// start runs the binary until it is ready.
func (c *cluster) start(ctx context.Context) error {
	if err := c.exec(); err != nil {
		return err
	}
	_, err := c.ready(ctx)
	return err
}

func (c *cluster) exec() error {
	log, err := os.OpenFile(c.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := append([]string{"server", "--data-dir", c.dir, "--node-name", "bench", "--bind-address", address, "--advertise-address", address, "--https-port", port}, c.flags...)
	c.cmd = exec.Command(c.bench.binary, args...)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	if c.bench.verbose {
		c.cmd.Stderr = os.Stderr
	}
	c.cmd.Env = append(rig.Environment(), "HEADWAY_PPROF="+c.dir+".pprof")
	return c.cmd.Start()
}

// ready asks /readyz until it answers 200 and gives the time of the answer.
func (c *cluster) ready(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, rig.Patience)
	defer cancel()
	transport := &http.Transport{
		// Only the time is asked for here; all else goes by the kubeconfig.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec
		DialContext:     (&net.Dialer{Timeout: time.Second}).DialContext,
	}
	defer transport.CloseIdleConnections()
	web := &http.Client{Transport: transport}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+net.JoinHostPort(address, port)+"/readyz", nil)
		if err != nil {
			return time.Time{}, err
		}
		answer, err := web.Do(req)
		if err == nil {
			_, err = io.Copy(io.Discard, answer.Body)
			err = errors.Join(err, answer.Body.Close())
			if err == nil && answer.StatusCode == http.StatusOK {
				return time.Now(), nil
			}
		}
		select {
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("server is not ready: %w; see %s.log", err, c.dir)
		case <-time.After(pollEvery):
		}
	}
}

// connect makes the client of the administrator.
func (c *cluster) connect() error {
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(c.dir, "admin.kubeconfig"))
	if err != nil {
		return err
	}
	config.QPS = -1
	config.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	c.client, err = client.NewWithWatch(config, client.Options{Scheme: scheme.Scheme})
	return err
}

// prepare connects, waits for the node, and loads the image.
func (c *cluster) prepare(ctx context.Context) error {
	if err := c.connect(); err != nil {
		return err
	}
	w, err := rig.Watch(ctx, c.client, &corev1.NodeList{})
	if err != nil {
		return err
	}
	defer w.Stop()
	if _, err := w.Await(ctx, "node ready", func(o client.Object) bool { return nodeReady(o.(*corev1.Node)) }); err != nil {
		return err
	}
	out, err := c.run(ctx, "image", "load", "--data-dir", c.dir, c.bench.options.image)
	if err != nil {
		return err
	}
	c.image, _, _ = strings.Cut(out, "\n")
	return nil
}

// run runs a verb of the binary.
func (c *cluster) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.bench.binary, args...)
	cmd.Env = rig.Environment()
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("headway %s: %w: %s", strings.Join(args, " "), err, said.String())
	}
	return string(out), nil
}

// end stops the server as a supervisor would; containers go on.
func (c *cluster) end() error {
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return c.cmd.Wait()
}

// stop takes the workload away, so that nothing of it is left in cgroups, and
// ends the server. The rest ends with the namespaces.
func (c *cluster) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if c.client != nil {
		if err := c.clear(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "bench: clear:", err)
		}
	}
	if err := c.end(); err != nil {
		fmt.Fprintln(os.Stderr, "bench: end the server:", err)
	}
}

// clear deletes all Deployments and waits until the node has let go of all pods.
func (c *cluster) clear(ctx context.Context) error {
	if err := c.client.DeleteAllOf(ctx, &appsv1.Deployment{}, client.InNamespace("default"), client.PropagationPolicy("Background")); err != nil {
		return err
	}
	for {
		var pods corev1.PodList
		if err := c.client.List(ctx, &pods); err != nil {
			return err
		}
		if len(pods.Items) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func nodeReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}

func watchPods(ctx context.Context, c client.WithWatch) (*rig.Watcher, error) {
	return rig.Watch(ctx, c, &corev1.PodList{}, client.InNamespace("default"))
}
