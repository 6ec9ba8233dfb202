package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/test/bench/rig"
)

// sourceName is that of the GitSource in every cluster.
const sourceName = "bench"

// cluster is a server and the repository that it follows.
type cluster struct {
	bench  *bench
	name   string
	server *rig.Process
	client client.WithWatch
	repo   *rig.Repository
}

// start runs a server and makes an empty repository.
func (b *bench) start(ctx context.Context, name string, flags ...string) (*cluster, error) {
	dir := filepath.Join(b.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	c := &cluster{bench: b, name: name}
	var err error
	if c.repo, err = rig.NewRepository(ctx, dir); err != nil {
		return nil, err
	}
	if c.server, err = rig.Start(ctx, b.binary, filepath.Join(dir, "d"), b.verbose, append([]string{"--disable", "scheduler,agent"}, flags...)...); err != nil {
		return nil, err
	}
	log.SetLogger(logr.Discard())
	if err := v1alpha1.AddToScheme(scheme.Scheme); err != nil {
		return nil, errors.Join(err, c.server.End())
	}
	if c.client, err = client.NewWithWatch(c.server.Config, client.Options{Scheme: scheme.Scheme}); err != nil {
		return nil, errors.Join(err, c.server.End())
	}
	return c, nil
}

// follow makes the GitSource.
func (c *cluster) follow(ctx context.Context, change func(*v1alpha1.GitSourceSpec)) error {
	o := &v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Name: sourceName}, Spec: v1alpha1.GitSourceSpec{URL: c.repo.Bare}}
	if change != nil {
		change(&o.Spec)
	}
	return c.client.Create(ctx, o)
}

// filled gives a cluster that follows a repository with apps, once they are
// healthy.
func (b *bench) filled(ctx context.Context, name string, apps int, change func(*v1alpha1.GitSourceSpec)) (*cluster, error) {
	c, err := b.start(ctx, name)
	if err != nil {
		return nil, err
	}
	if _, _, err := c.repo.Push(ctx, appFiles(apps)); err != nil {
		return nil, errors.Join(err, c.server.End())
	}
	if err := c.sync(ctx, change); err != nil {
		return nil, errors.Join(err, c.server.End())
	}
	return c, nil
}

// sync follows the repository and waits until all of it is healthy.
func (c *cluster) sync(ctx context.Context, change func(*v1alpha1.GitSourceSpec)) error {
	w, err := rig.Watch(ctx, c.client, &v1alpha1.ReleaseList{})
	if err != nil {
		return err
	}
	defer w.Stop()
	if err := c.follow(ctx, change); err != nil {
		return err
	}
	if _, err := w.Await(ctx, "the first commit to be healthy", inPhase(v1alpha1.ReleaseHealthy)); err != nil {
		return err
	}
	return c.server.Settled(ctx)
}

func inPhase(phases ...v1alpha1.ReleasePhase) func(client.Object) bool {
	return func(o client.Object) bool {
		for _, p := range phases {
			if o.(*v1alpha1.Release).Status.Phase == p {
				return true
			}
		}
		return false
	}
}

// watchMap watches the ConfigMap of an app.
func (c *cluster) watchMap(ctx context.Context, app int) (*rig.Watcher, error) {
	return rig.Watch(ctx, c.client, &corev1.ConfigMapList{}, client.InNamespace(teamOf(app)), client.MatchingFields{"metadata.name": appName(app)})
}

func hasValue(value string) func(client.Object) bool {
	return func(o client.Object) bool { return o.(*corev1.ConfigMap).Data["value"] == value }
}

// profile leaves a CPU profile of what runs until the returned function is
// called, if profiles are wanted.
func (c *cluster) profile(ctx context.Context, seconds int) (done func()) {
	if !c.bench.profiles {
		return func() {}
	}
	ended := make(chan error, 1)
	go func() {
		p, err := c.server.Profile(ctx, fmt.Sprintf("profile?seconds=%d", seconds))
		if err == nil {
			err = os.WriteFile(filepath.Join(c.bench.dir, c.name+".pb"), p, 0o600)
		}
		ended <- err
	}()
	return func() {
		if err := <-ended; err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}
}

// heap leaves a profile of what lives in the heap, if profiles are wanted.
func (c *cluster) heap(ctx context.Context) error {
	if !c.bench.profiles {
		return nil
	}
	p, err := c.server.Profile(ctx, "heap")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.bench.dir, c.name+".pb"), p, 0o600)
}

// teamSize is how many apps share a namespace.
const teamSize = 50

func teamOf(app int) string  { return fmt.Sprintf("team-%02d", app/teamSize) }
func appName(app int) string { return fmt.Sprintf("app-%04d", app) }

// fileOf is the file of an app's ConfigMap.
func fileOf(app int) string { return fmt.Sprintf("%s/%s/settings.yaml", teamOf(app), appName(app)) }

// settings is an app's ConfigMap; about a kilobyte, as they are.
func settings(app int, value string) string { return configMap(teamOf(app), app, value) }

func configMap(namespace string, i int, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: %s}\ndata:\n  value: %q\n  text: %q\n",
		appName(i), namespace, value, fmt.Sprintf("%0800d", i))
}

// appFiles are the files of a number of apps, each of four objects, and of
// their namespaces.
func appFiles(apps int) map[string]string {
	files := make(map[string]string, 2*apps)
	for i := range apps {
		files[teamOf(i)+"/namespace.yaml"] = fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", teamOf(i))
		files[fileOf(i)] = settings(i, "0")
		files[teamOf(i)+"/"+appName(i)+"/app.yaml"] = strings.NewReplacer("TEAM", teamOf(i), "APP", appName(i)).Replace(appTemplate)
	}
	return files
}

const appTemplate = `apiVersion: v1
kind: ServiceAccount
metadata: {name: APP, namespace: TEAM}
---
apiVersion: v1
kind: Service
metadata: {name: APP, namespace: TEAM}
spec:
  selector: {app: APP}
  ports: [{port: 80}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: APP, namespace: TEAM}
spec:
  replicas: 0
  selector: {matchLabels: {app: APP}}
  template:
    metadata: {labels: {app: APP}}
    spec:
      serviceAccountName: APP
      containers:
      - name: web
        image: example.org/web:1.0
        ports: [{containerPort: 80}]
        envFrom: [{configMapRef: {name: APP}}]
`

// configMapFiles are a number of ConfigMaps alone, 20 in a file.
func configMapFiles(n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		name := fmt.Sprintf("maps/%03d.yaml", i/20)
		files[name] += "---\n" + configMap("default", i, "0")
	}
	return files
}

// wait passes time in which nothing is asked of the server.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
