package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

const (
	namespace  = "bench"
	core       = "/api/v1/namespaces/" + namespace + "/"
	configMaps = core + "configmaps"
	pods       = core + "pods"
)

// prepare makes the namespace, and in it what no controller makes here.
func (b *bench) prepare(ctx context.Context) error {
	c := b.server.client()
	defer c.CloseIdleConnections()
	if _, err := b.server.do(ctx, c, request{path: "/api/v1/namespaces/" + namespace}); err == nil {
		return nil // another group has
	}
	for _, o := range []struct{ path, name string }{
		{"/api/v1/namespaces", namespace}, {core + "serviceaccounts", "default"}, {configMaps, "kube-root-ca.crt"},
	} {
		if _, err := b.server.do(ctx, c, request{method: http.MethodPost, path: o.path, body: fmt.Appendf(nil, `{"metadata":{"name":%q}}`, o.name)}); err != nil {
			return err
		}
	}
	return nil
}

// configMap is one of a kilobyte.
func configMap(i int, value string) []byte {
	return fmt.Appendf(nil, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"map-%d","namespace":%q},"data":{"text":%q,"value":%q}}`,
		i, namespace, strings.Repeat("configuration ", 64), value)
}

// configMaps measures the verbs on small objects in JSON.
func (b *bench) configMaps(ctx context.Context) error {
	if err := b.prepare(ctx); err != nil {
		return err
	}
	s := b.server
	one := func(i int) string { return fmt.Sprintf("%s/map-%d", configMaps, i) }
	steps := []struct {
		name, reference, aim string
		do                   operation
	}{
		{"ConfigMap create", "1.22 ms", "≤ 0.20 ms", func(ctx context.Context, c *http.Client, i int) error {
			_, err := s.do(ctx, c, request{method: http.MethodPost, path: configMaps, body: configMap(i, "first")})
			return err
		}},
		{"ConfigMap get", "0.57 ms", "≤ 0.06 ms", func(ctx context.Context, c *http.Client, i int) error {
			_, err := s.do(ctx, c, request{path: one(i)})
			return err
		}},
		{"ConfigMap get + update", "1.70 ms", "≤ 0.25 ms", func(ctx context.Context, c *http.Client, i int) error {
			now, err := s.do(ctx, c, request{path: one(i)})
			if err != nil {
				return err
			}
			_, err = s.do(ctx, c, request{method: http.MethodPut, path: one(i), body: []byte(strings.Replace(string(now), `"first"`, `"second"`, 1))})
			return err
		}},
		{"ConfigMap delete", "1.06 ms", "≤ 0.15 ms", func(ctx context.Context, c *http.Client, i int) error {
			_, err := s.do(ctx, c, request{method: http.MethodDelete, path: one(i)})
			return err
		}},
	}
	for _, step := range steps {
		l, err := b.load(ctx, step.name, b.rounds, step.do)
		if err != nil {
			return err
		}
		b.print(step.name, l, step.reference, step.aim)
	}
	return b.floor(ctx)
}

// floor measures what a get costs a server that only sends a kilobyte: what
// HTTP/2 and TLS take of every figure here.
func (b *bench) floor(ctx context.Context) error {
	bare, err := startBare(ctx, b.dir, configMap(0, "first"))
	if err != nil {
		return err
	}
	defer bare.kill()
	of := *b
	of.server, of.profiles = bare, false
	l, err := of.load(ctx, "bare", b.rounds, func(ctx context.Context, c *http.Client, _ int) error {
		_, err := bare.do(ctx, c, request{path: configMaps})
		return err
	})
	if err != nil {
		return err
	}
	of.print("  get from a bare server", l, "", "")
	return nil
}

// podWrites measures creations and status updates of pods in protobuf.
func (b *bench) podWrites(ctx context.Context) error {
	created, err := b.createPods(ctx)
	if err != nil || created == nil {
		return err
	}
	b.print("pod create (protobuf)", created, "1.86 ms", "≤ 0.30 ms, stretch 0.19 ms")
	updates, err := b.podUpdates(ctx)
	if err != nil {
		return err
	}
	l, err := b.load(ctx, "pod status update", b.rounds, func(ctx context.Context, c *http.Client, i int) error {
		return updates.send(ctx, c, i, "running since the beginning")
	})
	if err != nil {
		return err
	}
	b.print("pod status update (protobuf)", l, "", "≤ 0.25 ms")
	return nil
}

// createPods makes all the pods, or gives nil when they are there.
func (b *bench) createPods(ctx context.Context) (*load, error) {
	if b.created {
		return nil, nil
	}
	b.created = true
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	bodies := make([][]byte, b.options.pods)
	for i := range bodies {
		var err error
		if bodies[i], err = encode(newPod(i)); err != nil {
			return nil, err
		}
	}
	return b.load(ctx, "pod create", len(bodies), func(ctx context.Context, c *http.Client, i int) error {
		_, err := b.server.do(ctx, c, request{method: http.MethodPost, path: pods, media: mediaProtobuf, body: bodies[i]})
		return err
	})
}
