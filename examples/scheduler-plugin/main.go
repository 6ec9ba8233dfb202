// The program scheduler-plugin is Headway's scheduler with a plug-in of its own:
// pods with spec.schedulerName "licensed" and the label example.com/licence run
// only on nodes with the label example.com/licensed=true, and never more of them
// at a time than there are licences. It works beside the cluster's scheduler and
// needs nothing but the API, as system:kube-scheduler has it.
//
//	go run ./examples/scheduler-plugin -licences cad=2,sim=5
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/headway-sh/headway/scheduler"
	"github.com/headway-sh/headway/scheduler/core"
)

const (
	name         = "licensed"
	licenceLabel = "example.com/licence"
	nodeLabel    = "example.com/licensed"
)

func main() {
	flags := flag.String("licences", "cad=1", "how many of each there are")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	all, err := parse(*flags)
	if err == nil {
		err = connect(ctx, newLicences(all))
	}
	if err != nil {
		slog.Error("schedule", "err", err)
		os.Exit(1)
	}
}

func parse(text string) (map[string]int, error) {
	all := map[string]int{}
	for _, one := range strings.Split(text, ",") {
		name, number, _ := strings.Cut(one, "=")
		n, err := strconv.Atoi(number)
		if name == "" || err != nil || n < 0 {
			return nil, fmt.Errorf("-licences %q: name=number is wanted", one)
		}
		all[name] = n
	}
	return all, nil
}

func connect(ctx context.Context, l *licences) error {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	config.QPS = -1
	log.SetLogger(logr.FromSlogHandler(slog.Default().Handler()))
	return run(ctx, config, l)
}

// run schedules until ctx ends.
func run(ctx context.Context, config *rest.Config, l *licences) error {
	api, err := client.New(config, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		return err
	}
	objects, err := cache.New(config, cache.Options{Scheme: scheme.Scheme})
	if err != nil {
		return err
	}
	if err := l.follow(ctx, objects); err != nil {
		return err
	}
	s, err := scheduler.New(scheduler.Config{
		Client: api, Cache: objects, Logger: slog.Default(),
		Profiles:   []core.Profile{{Name: name, Filters: []core.FilterPlugin{{Name: l.Name(), Filter: licensed, Helps: core.NodeAdded | core.NodeLabelled}}}},
		Extensions: map[string]scheduler.Extensions{name: {Reserve: []scheduler.ReservePlugin{l}}},
	})
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return objects.Start(ctx) })
	group.Go(func() error { return s.Run(ctx) })
	return group.Wait()
}

func licensed(_ *corev1.Pod, n *core.Node) string {
	if n.Object.Labels[nodeLabel] != "true" {
		return "node(s) have no licensed software"
	}
	return ""
}

// licences knows who has one.
type licences struct {
	all map[string]int
	mu  sync.Mutex // guards used
	// used are the pods, by licence.
	used map[string]map[types.UID]bool
}

func newLicences(all map[string]int) *licences {
	l := &licences{all: all, used: map[string]map[types.UID]bool{}}
	for name := range all {
		l.used[name] = map[types.UID]bool{}
	}
	return l
}

// Name is the plug-in's.
func (l *licences) Name() string { return "Licences" }

// Reserve takes a licence for a pod that has a node.
func (l *licences) Reserve(p *corev1.Pod, _ string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	licence := p.Labels[licenceLabel]
	used, ok := l.used[licence]
	if !ok {
		return fmt.Errorf("there is no licence %q", licence)
	}
	if !used[p.UID] && len(used) >= l.all[licence] {
		return errors.New("all licences are in use")
	}
	used[p.UID] = true
	return nil
}

// Unreserve gives a licence back.
func (l *licences) Unreserve(p *corev1.Pod, _ string) { l.set(p, false) }

func (l *licences) set(p *corev1.Pod, uses bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	used, ok := l.used[p.Labels[licenceLabel]]
	switch {
	case !ok:
	case uses:
		used[p.UID] = true
	default:
		delete(used, p.UID)
	}
}

// follow keeps up with pods that ran before, and with those that end.
func (l *licences) follow(ctx context.Context, objects cache.Cache) error {
	informer, err := objects.GetInformer(ctx, &corev1.Pod{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch pods: %w", err)
	}
	saw := func(o any) {
		p, ok := o.(*corev1.Pod)
		switch {
		case !ok || p.Spec.SchedulerName != name:
		case p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed:
			l.set(p, false)
		case p.Spec.NodeName != "":
			l.set(p, true)
		}
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: saw, UpdateFunc: func(_, o any) { saw(o) },
		DeleteFunc: func(o any) {
			if gone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			if p, ok := o.(*corev1.Pod); ok {
				l.set(p, false)
			}
		},
	})
	return err
}
