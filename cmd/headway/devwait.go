package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// devPoll is how often something that tells nobody is looked at.
const devPoll = 20 * time.Millisecond

// serverReady waits for the administrator's kubeconfig and /readyz.
func (c *devCluster) serverReady(ctx context.Context, m devMachine) error {
	err := poll(ctx, func() (bool, error) {
		if pid, err := c.pid(m); err != nil || pid == 0 {
			return false, fmt.Errorf("%s has ended; see %s", m.Name, c.log(m))
		}
		if _, err := os.Stat(c.kubeconfig()); err != nil {
			return false, nil
		}
		config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig())
		if err != nil {
			return false, err
		}
		h, err := rest.HTTPClientFor(config)
		if err != nil {
			return false, err
		}
		defer h.CloseIdleConnections()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+"/readyz", http.NoBody)
		if err != nil {
			return false, err
		}
		response, err := h.Do(request)
		if err != nil {
			return false, nil // not listening yet, or the file is of its last life
		}
		return response.StatusCode == http.StatusOK, response.Body.Close()
	})
	if err != nil {
		return fmt.Errorf("wait for %s: %w", m.Name, err)
	}
	return nil
}

func poll(ctx context.Context, done func() (bool, error)) error {
	ticker := time.NewTicker(devPoll)
	defer ticker.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// nodesReady watches until every node is Ready.
func (c *devCluster) nodesReady(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig())
	if err != nil {
		return err
	}
	config.QPS = -1
	api, err := client.NewWithWatch(config, client.Options{Scheme: clientgoscheme.Scheme, Mapper: nodeMapper()})
	if err != nil {
		return err
	}
	missing := map[string]bool{}
	for _, m := range c.Machines {
		if !m.Server {
			missing[m.Name] = true
		}
	}
	w, err := api.Watch(ctx, &corev1.NodeList{})
	if err != nil {
		return fmt.Errorf("watch nodes: %w", err)
	}
	defer w.Stop()
	for len(missing) > 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("nodes not ready: %v; see %s: %w", keys(missing), c.dir, ctx.Err())
		case event, ok := <-w.ResultChan():
			if !ok {
				return fmt.Errorf("watch nodes: it ended")
			}
			if n, ok := event.Object.(*corev1.Node); ok && isReady(n) {
				delete(missing, n.Name)
			}
		}
	}
	return nil
}

func keys(m map[string]bool) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	return all
}

func isReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
