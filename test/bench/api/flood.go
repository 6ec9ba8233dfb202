package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"time"

	clientrest "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/headway-sh/headway/test/bench/rig"
)

const (
	// floods is how many lists one user keeps asking for at once, and over how
	// many connections.
	floods           = 2_000
	floodConnections = 10
	floodTime        = 15 * time.Second
)

const leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"

// flood looks at what others have to wait while one user asks for all pods
// again and again, two thousand times at once: the scheduler's lease, its
// bindings and another user's small reads.
func (b *bench) flood(ctx context.Context) error {
	if _, err := b.createPods(ctx); err != nil {
		return err
	}
	if err := b.rights(ctx); err != nil {
		return err
	}
	users := map[string]*tls.Config{}
	for _, name := range []string{"flood", "reader", "system:kube-scheduler"} {
		config, err := b.user(ctx, name)
		if err != nil {
			return err
		}
		users[name] = config
	}
	if err := b.others(ctx, "", users); err != nil {
		return err
	}
	end, err := b.startFlood(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := b.others(ctx, fmt.Sprintf("  under %d LISTs by one user", floods), users); err != nil {
		return err
	}
	c := b.server.client()
	defer c.CloseIdleConnections()
	dump, err := b.server.do(ctx, c, request{path: "/debug/api_priority_and_fairness/dump_queues"})
	if err != nil {
		return err
	}
	if !regexp.MustCompile(`global-default, \d+, [1-9]`).Match(dump) {
		return errors.New("nobody waits in the flood's level: there was no flood")
	}
	return ctx.Err()
}

// startFlood floods from a process of its own, whose work counts less than the
// server's and the others': it would be on other machines.
func (b *bench) startFlood(ctx context.Context) (end func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	flood := exec.CommandContext(ctx, "nice", "-n", "10", self)
	flood.Env = append(rig.Environment(), floodVariable+"="+b.kubeconfig("flood"))
	flood.Stderr = os.Stderr
	flood.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := flood.Start(); err != nil {
		return nil, err
	}
	return func() {
		_ = flood.Process.Kill() // it may have ended
		_ = flood.Wait()         // killed is what it should be
	}, nil
}

// others measures what everybody else does; when says under which conditions,
// empty: first, and undisturbed.
func (b *bench) others(ctx context.Context, when string, users map[string]*tls.Config) error {
	first, limit, aim := 0, floodTime/3, ""
	if when != "" {
		first, limit, aim = unbound/4, floodTime, "p99 ≤ 200 ms"
	}
	quiet, stop := context.WithTimeout(ctx, limit)
	defer stop()
	figures := []struct {
		name, user string
		do         func(ctx context.Context, c *http.Client, n int) error
		waits      []time.Duration
		err        error
	}{
		{name: "scheduler's lease", user: "system:kube-scheduler", do: b.server.renew},
		{name: "binding of a pod", user: "system:kube-scheduler", do: func(ctx context.Context, c *http.Client, n int) error { return b.server.bind(ctx, c, first+n) }},
		{name: "another user's ConfigMap", user: "reader", do: func(ctx context.Context, c *http.Client, _ int) error {
			_, err := b.server.do(ctx, c, request{path: configMaps + "/kube-root-ca.crt"})
			return err
		}},
	}
	var all sync.WaitGroup
	for i := range figures {
		f := &figures[i]
		all.Go(func() { f.waits, f.err = b.server.every(quiet, users[f.user], f.do) })
	}
	all.Wait()
	for _, f := range figures {
		if f.err != nil {
			return fmt.Errorf("%s: %w", f.name, f.err)
		}
		b.report.Times(f.name+when, f.waits, "", aim)
	}
	return nil
}

// kubeconfig is where a user's is kept.
func (b *bench) kubeconfig(user string) string { return filepath.Join(b.dir, user+".kubeconfig") }

// floodVariable names the kubeconfig by which this program floods a server
// instead of measuring.
const floodVariable = "HEADWAY_BENCH_FLOOD"

func runFlood(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv(floodVariable))
	if err != nil {
		return err
	}
	s := &server{url: config.Host}
	if s.tls, err = clientrest.TLSConfigFor(config); err != nil {
		return err
	}
	var all sync.WaitGroup
	for range floodConnections {
		c := s.client()
		defer c.CloseIdleConnections()
		for range floods / floodConnections {
			all.Go(func() { s.floodOnce(ctx, c) })
		}
	}
	all.Wait()
	return nil
}

// floodOnce asks for all pods until ctx ends. Being refused is what it is for.
func (s *server) floodOnce(ctx context.Context, c *http.Client) {
	for ctx.Err() == nil {
		if _, err := s.discard(ctx, c, pods); err != nil && ctx.Err() == nil {
			select {
			case <-time.After(time.Second): // as Retry-After says
			case <-ctx.Done():
			}
		}
	}
}

// every does something at a steady pace until ctx ends and gives the latencies,
// counted from when each was due.
func (s *server) every(ctx context.Context, config *tls.Config, do func(context.Context, *http.Client, int) error) (all []time.Duration, err error) {
	c := newClient(config)
	defer c.CloseIdleConnections()
	tick := time.NewTicker(10 * otherEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case due := <-tick.C:
			if err := do(ctx, c, n); err != nil {
				if ctx.Err() != nil {
					return all, nil
				}
				return all, err
			}
			all = append(all, time.Since(due))
		case <-ctx.Done():
			return all, nil
		}
	}
}

// renew renews the scheduler's lease.
func (s *server) renew(ctx context.Context, c *http.Client, n int) error {
	body := fmt.Appendf(nil, `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"kube-scheduler"},"spec":{"holderIdentity":"bench","leaseTransitions":%d}}`, n)
	_, err := s.do(ctx, c, request{method: http.MethodPut, path: leases + "/kube-scheduler", body: body})
	return err
}

// bind binds a pod of those that were made for it.
func (s *server) bind(ctx context.Context, c *http.Client, n int) error {
	if n >= unbound {
		return fmt.Errorf("there are only %d pods to bind", unbound)
	}
	name := fmt.Sprintf("unbound-%d", n)
	_, err := s.do(ctx, c, request{method: http.MethodPost, path: pods + "/" + name + "/binding",
		body: fmt.Appendf(nil, `{"apiVersion":"v1","kind":"Binding","metadata":{"name":%q},"target":{"kind":"Node","name":"somewhere"}}`, name)})
	return err
}

// unbound is how many pods can be bound during a flood.
const unbound = 2 * int(floodTime/(10*otherEvery))

// rights gives the users what they ask for, and makes the pods to bind.
func (b *bench) rights(ctx context.Context) error {
	c := b.server.client()
	defer c.CloseIdleConnections()
	bodies := map[string][]byte{"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings": []byte(`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding",
		"metadata":{"name":"bench"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"view"},
		"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"flood"},{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"reader"}]}`),
		leases:     []byte(`{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"kube-scheduler"}}`),
		configMaps: []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"kube-root-ca.crt"},"data":{"k":"v"}}`)}
	for path, body := range bodies {
		if _, err := b.server.do(ctx, c, request{method: http.MethodPost, path: path, body: body}); err != nil && path != configMaps {
			return err
		}
	}
	for n := range unbound {
		pod, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": fmt.Sprintf("unbound-%d", n)},
			"spec": map[string]any{"containers": []any{map[string]any{"name": "c", "image": "i"}}}})
		if err != nil {
			return err
		}
		if _, err := b.server.do(ctx, c, request{method: http.MethodPost, path: pods, body: pod}); err != nil {
			return err
		}
	}
	return nil
}

// user makes a certificate for somebody who is no administrator.
func (b *bench) user(ctx context.Context, name string) (*tls.Config, error) {
	data := filepath.Join(b.dir, "main")
	cmd := exec.CommandContext(ctx, b.binary, "user", "add", name, "--data-dir", data, "--kubeconfig", filepath.Join(data, "admin.kubeconfig"), "-f", b.kubeconfig(name))
	cmd.Env = rig.Environment()
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make user %s: %w: %s", name, err, text)
	}
	config, err := clientcmd.BuildConfigFromFlags("", b.kubeconfig(name))
	if err != nil {
		return nil, err
	}
	return clientrest.TLSConfigFor(config)
}
