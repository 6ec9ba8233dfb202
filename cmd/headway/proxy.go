package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/proxy"
	"github.com/headway-sh/headway/proxy/conntrack"
	"github.com/headway-sh/headway/proxy/healthcheck"
	"github.com/headway-sh/headway/proxy/modes"
)

// proxyOptions are the flags of `headway proxy`.
type proxyOptions struct {
	nodeName    string
	clusterCIDR []string
	mode        modes.Mode
	clean       bool
}

func proxyCommand() *cobra.Command {
	var o proxyOptions
	cmd := &cobra.Command{
		Use:   "proxy",
		Short: "Run the service proxy alone, as on a node whose agent is another's",
		Long: `Run the service proxy alone: Services become rules of this machine's kernel. A node
of this cluster's agent has it already ("--disable proxy" takes it away there).

In a pod it uses the pod's account; elsewhere --kubeconfig. The rules stay when it
ends; "headway proxy --cleanup" takes them away. examples/proxy-daemonset runs it
on every node.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.clean {
				return modes.Retire(cmd.Context(), "")
			}
			log, err := logger(cmd)
			if err != nil {
				return err
			}
			config, err := proxyAccess(cmd)
			if err != nil {
				return err
			}
			return runProxy(cmd.Context(), o, config, log)
		},
	}
	logFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.nodeName, "node-name", "", "name of this machine's Node (default: the host name)")
	f.StringSliceVar(&o.clusterCIDR, "cluster-cidr", nil, "the pods' addresses of all nodes, one range a family; what comes to a service from elsewhere is masqueraded")
	f.StringVar((*string)(&o.mode), "proxy-mode", string(modes.IPTables), "how service rules are written: iptables or nftables")
	f.BoolVar(&o.clean, "cleanup", false, "take away all service rules, and end")
	return cmd
}

// proxyAccess is the pod's account, or what the flag names.
func proxyAccess(cmd *cobra.Command) (*rest.Config, error) {
	path, err := cmd.Flags().GetString("kubeconfig")
	if err != nil {
		return nil, err
	}
	if path != "" {
		return clientcmd.BuildConfigFromFlags("", path)
	}
	config, err := rest.InClusterConfig()
	if errors.Is(err, rest.ErrNotInCluster) {
		return nil, errors.New("--kubeconfig is needed outside a pod")
	}
	return config, err
}

func runProxy(ctx context.Context, o proxyOptions, config *rest.Config, log *slog.Logger) error {
	if err := o.mode.Validate(); err != nil {
		return fmt.Errorf("--proxy-mode: %w", err)
	}
	if os.Geteuid() != 0 {
		return errors.New("rules need root")
	}
	var err error
	if o.nodeName, err = nodeName(o.nodeName); err != nil {
		return err
	}
	var ranges []netip.Prefix
	for _, text := range o.clusterCIDR {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("--cluster-cidr: %w", err)
		}
		ranges = append(ranges, p)
	}
	transport, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	watched, err := cache.New(config, cache.Options{HTTPClient: transport, Scheme: clientgoscheme.Scheme, Mapper: nodeMapper(), DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{&corev1.Node{}: {Field: fields.OneTermEqualSelector("metadata.name", o.nodeName)}}})
	if err != nil {
		return err
	}
	health := healthcheck.New(nil, log)
	p, err := proxy.New(proxy.Config{Cache: watched, NodeName: o.nodeName, NodeLabels: labelsFrom(ctx, watched, o.nodeName, log),
		Backends: modes.Backends(o.mode, modes.Config{Cluster: ranges, Localhost: true}), Flows: conntrack.Kernel{}, Health: health, Clock: clock.RealClock{}, Logger: log})
	if err != nil {
		return err
	}
	retire := func(ctx context.Context) error { return retireModes(ctx, p, o.mode, log) }
	return runAll(ctx, log, []component{{"cache", watched.Start}, {"service proxy", p.Run}, {"health check ports", health.Run}, {"other proxy modes", retire}})
}

// labelsFrom reads the Node's labels from a cache; none while it has no Node.
func labelsFrom(ctx context.Context, watched cache.Cache, name string, log *slog.Logger) func() map[string]string {
	return func() map[string]string {
		var node corev1.Node
		if err := watched.Get(ctx, client.ObjectKey{Name: name}, &node); err != nil {
			log.Debug("the node's zone is not known", "node", name, "error", err)
			return nil
		}
		return node.Labels
	}
}
