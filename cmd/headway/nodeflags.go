package main

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/headway-sh/headway/nodeagent/cni"
	"github.com/headway-sh/headway/nodeagent/eviction"
	"github.com/headway-sh/headway/nodeagent/imagegc"
	"github.com/headway-sh/headway/nodeagent/shutdown"
	"github.com/headway-sh/headway/proxy/modes"
)

// nodeFlags are what a node agent is told, in the server's process or in its
// own.
type nodeFlags struct {
	manifests                          string
	systemReserved, kubeReserved       map[string]string
	maxPods                            int64
	evictionHard, evictionSoft         string
	evictionSoftGrace, evictionReclaim string
	evictionMaxGrace                   int
	evictionTransition                 time.Duration
	images                             imagegc.Policy
	pods                               podOptions
	proxyMode                          modes.Mode
	shutdown                           shutdown.Periods
	externalIPs                        []string
	registries                         string
	parallelPulls                      int
	cniConfDir, cniBinDir              string

	// complete makes these of the others.
	external   []netip.Addr
	reserved   corev1.ResourceList
	thresholds []eviction.Threshold
}

func (n *nodeFlags) flags(f *pflag.FlagSet) {
	f.StringVar(&n.manifests, "pod-manifest-path", "", "directory with the pods that this node runs by itself, one a file (default: manifests in the data directory)")
	f.StringToStringVar(&n.systemReserved, "system-reserved", nil, "what the machine's own processes need: cpu=200m,memory=500Mi,ephemeral-storage=1Gi")
	f.StringToStringVar(&n.kubeReserved, "kube-reserved", nil, "what the node's agent and runtime need, in the same form")
	f.Int64Var(&n.maxPods, "max-pods", 110, "how many pods the node runs at most")
	f.StringVar(&n.evictionHard, "eviction-hard", eviction.DefaultHard, "below which the node gives up pods at once")
	f.StringVar(&n.evictionSoft, "eviction-soft", "", "below which the node gives up pods after a while")
	f.StringVar(&n.evictionSoftGrace, "eviction-soft-grace-period", "", "how long that while is: memory.available=1m30s")
	f.StringVar(&n.evictionReclaim, "eviction-minimum-reclaim", "", "how much more than the threshold is to be there afterwards: nodefs.available=1Gi")
	f.IntVar(&n.evictionMaxGrace, "eviction-max-pod-grace-period", 0, "seconds that a pod has at most to end that is below a soft threshold")
	f.DurationVar(&n.evictionTransition, "eviction-pressure-transition-period", eviction.DefaultTransition, "how long a node says at least that it is under pressure")
	f.IntVar(&n.images.High, "image-gc-high-threshold", imagegc.Default.High, "percentage of the disk in use from which on images go that no pod uses; 100: never")
	f.IntVar(&n.images.Low, "image-gc-low-threshold", imagegc.Default.Low, "percentage of the disk in use at which that ends")
	f.DurationVar(&n.images.MinAge, "minimum-image-ttl-duration", imagegc.Default.MinAge, "how long an image stays that has just come")
	f.DurationVar(&n.images.MaxAge, "image-maximum-gc-age", 0, "how long an image may be unused that was pulled; 0: forever")
	f.StringVar((*string)(&n.proxyMode), "proxy-mode", string(modes.IPTables), "how service rules are written: iptables or nftables")
	f.DurationVar(&n.shutdown.Total, "shutdown-grace-period", shutdown.Default.Total, "how long pods have to end when the machine goes down; 0: they are not told")
	f.DurationVar(&n.shutdown.Critical, "shutdown-grace-period-critical-pods", shutdown.Default.Critical, "how much of that critical pods have for themselves")
	f.StringSliceVar(&n.externalIPs, "node-external-ip", nil, "addresses by which the node is reached from outside, for its Node to tell")
	f.StringVar(&n.registries, "private-registry", "", "file with mirrors and credentials of registries (default: registries.yaml in the data directory)")
	f.IntVar(&n.parallelPulls, "max-parallel-image-pulls", 5, "how many images are pulled at once; 1: one after the other")
	f.StringVar(&n.cniConfDir, "cni-conf-dir", "", "directory with the CNI configuration by which pods are connected, such as "+cni.DefaultConfDir+" (default: the built-in pod network)")
	f.StringVar(&n.cniBinDir, "cni-bin-dir", cni.DefaultBinDir, "directories with CNI plug-ins, separated by colons")
	n.pods.flags(f)
}

// complete fills in what depends on the data directory, and reads the rest.
func (n *nodeFlags) complete(dataDir string) error {
	var err error
	if n.manifests == "" {
		n.manifests = filepath.Join(dataDir, "manifests")
	}
	if err := n.pods.validate(); err != nil {
		return err
	}
	if err := n.proxyMode.Validate(); err != nil {
		return fmt.Errorf("--proxy-mode: %w", err)
	}
	if n.manifests, err = filepath.Abs(n.manifests); err != nil {
		return err
	}
	n.external = nil
	for _, text := range n.externalIPs {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("--node-external-ip: %w", err)
		}
		n.external = append(n.external, a)
	}
	if n.registries == "" {
		n.registries = filepath.Join(dataDir, "registries.yaml")
	}
	if n.parallelPulls < 1 {
		return errors.New("--max-parallel-image-pulls: at least one")
	}
	n.reserved = corev1.ResourceList{}
	for flag, list := range map[string]map[string]string{"--system-reserved": n.systemReserved, "--kube-reserved": n.kubeReserved} {
		for name, text := range list {
			q, err := resource.ParseQuantity(text)
			if err != nil || q.Sign() < 0 {
				return fmt.Errorf("%s: %s: %q is no quantity", flag, name, text)
			}
			switch r := corev1.ResourceName(name); r {
			case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
				q.Add(n.reserved[r])
				n.reserved[r] = q
			default:
				return fmt.Errorf("%s: %q cannot be reserved (cpu, memory, ephemeral-storage)", flag, name)
			}
		}
	}
	if n.thresholds, err = eviction.Parse(n.evictionHard, n.evictionSoft, n.evictionSoftGrace, n.evictionReclaim); err != nil {
		return fmt.Errorf("--eviction-…: %w", err)
	}
	return errors.Join(n.images.Validate(), n.shutdown.Validate())
}
