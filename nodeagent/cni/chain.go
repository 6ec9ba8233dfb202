package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/containernetworking/cni/libcni"
	cnitypes "github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
)

// chain reads the configuration that holds: the first by name that has plug-ins.
func (n *Network) chain() (*libcni.NetworkConfigList, error) {
	files, err := libcni.ConfFiles(n.ConfDir, []string{".conf", ".conflist", ".json"})
	if err != nil {
		return nil, fmt.Errorf("list CNI configurations: %w", err)
	}
	slices.Sort(files)
	var errs []error
	for _, file := range files {
		list, err := parse(file)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("CNI configuration %s: %w", file, err))
		case len(list.Plugins) > 0:
			return list, nil
		}
	}
	return nil, errors.Join(append(errs, fmt.Errorf("no CNI configuration in %s yet", n.ConfDir))...)
}

func parse(file string) (*libcni.NetworkConfigList, error) {
	if strings.HasSuffix(file, ".conflist") {
		return libcni.NetworkConfFromFile(file)
	}
	one, err := libcni.ConfFromFile(file)
	if err != nil {
		return nil, err
	}
	return libcni.ConfListFromConf(one)
}

// inline is a configuration with all of its plug-ins in it, those of files of
// their own too.
func inline(list *libcni.NetworkConfigList) ([]byte, error) {
	whole := map[string]json.RawMessage{}
	err := json.Unmarshal(list.Bytes, &whole)
	if err == nil {
		var plugins []json.RawMessage
		for _, p := range list.Plugins {
			plugins = append(plugins, p.Bytes)
		}
		whole["loadOnlyInlinedPlugins"] = json.RawMessage("true")
		whole["plugins"], err = json.Marshal(plugins)
	}
	if err != nil {
		return nil, fmt.Errorf("CNI network %q: %w", list.Name, err)
	}
	return json.Marshal(whole)
}

// probe tells whether the plug-ins are there, know the configuration's version,
// and say that they can take pods.
func (n *Network) probe(ctx context.Context, list *libcni.NetworkConfigList) error {
	ctx, cancel := context.WithTimeout(ctx, pluginTimeout)
	defer cancel()
	if _, err := n.plugins.ValidateNetworkList(ctx, list); err != nil {
		return fmt.Errorf("CNI network %q: %w", list.Name, err)
	}
	if err := n.plugins.GetStatusNetworkList(ctx, list); err != nil {
		return fmt.Errorf("CNI network %q is not ready: %w", list.Name, err)
	}
	return nil
}

// arguments are those that plug-ins for Kubernetes read.
func arguments(pod *corev1.Pod) [][2]string {
	return [][2]string{
		{"IgnoreUnknown", "1"},
		{"K8S_POD_NAMESPACE", pod.Namespace},
		{"K8S_POD_NAME", pod.Name},
		{"K8S_POD_INFRA_CONTAINER_ID", string(pod.UID)},
		{"K8S_POD_UID", string(pod.UID)},
	}
}

// portMapping, ranges and bandwidth are in the form of the conventions:
// https://github.com/containernetworking/cni/blob/main/CONVENTIONS.md
type portMapping struct {
	HostPort      int32  `json:"hostPort"`
	ContainerPort int32  `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP,omitempty"`
}

type addressRange struct {
	Subnet string `json:"subnet"`
}

type bandwidth struct {
	IngressRate  uint64 `json:"ingressRate,omitempty"`
	IngressBurst uint64 `json:"ingressBurst,omitempty"`
	EgressRate   uint64 `json:"egressRate,omitempty"`
	EgressBurst  uint64 `json:"egressBurst,omitempty"`
}

// burst is how many bits may come at once; no limit but the rate is meant.
const burst = 1<<31 - 1

// capabilities are what a plug-in is told that declares to want it.
func capabilities(pod *corev1.Pod, cidrs []netip.Prefix) (map[string]any, error) {
	all := map[string]any{}
	var ports []portMapping
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, p := range c.Ports {
			if p.HostPort != 0 {
				ports = append(ports, portMapping{p.HostPort, p.ContainerPort, strings.ToLower(string(p.Protocol)), p.HostIP})
				if p.Protocol == "" {
					ports[len(ports)-1].Protocol = "tcp"
				}
			}
		}
	}
	if len(ports) > 0 {
		all["portMappings"] = ports
	}
	// One set for each family, of one range.
	var sets [][]addressRange
	for _, cidr := range cidrs {
		sets = append(sets, []addressRange{{cidr.Masked().String()}})
	}
	if len(sets) > 0 {
		all["ipRanges"] = sets
	}
	b, err := limits(pod)
	if err != nil {
		return nil, err
	}
	if b != (bandwidth{}) {
		all["bandwidth"] = b
	}
	if len(pod.Annotations) > 0 {
		all["io.kubernetes.cri.pod-annotations"] = pod.Annotations
	}
	return all, nil
}

func limits(pod *corev1.Pod) (bandwidth, error) {
	var b bandwidth
	for key, to := range map[string][2]*uint64{
		"kubernetes.io/ingress-bandwidth": {&b.IngressRate, &b.IngressBurst},
		"kubernetes.io/egress-bandwidth":  {&b.EgressRate, &b.EgressBurst},
	} {
		text, ok := pod.Annotations[key]
		if !ok {
			continue
		}
		q, err := resource.ParseQuantity(text)
		if err != nil || q.Value() <= 0 {
			return b, fmt.Errorf("annotation %s: %q is no bandwidth", key, text)
		}
		*to[0], *to[1] = uint64(q.Value()), burst //nolint:gosec // positive
	}
	return b, nil
}

// addresses are the pod's: of what the plug-ins answer those of links in its
// namespace, the first of each family that its cluster has, in the cluster's
// order.
func (n *Network) addresses(result cnitypes.Result) ([]netip.Addr, error) {
	r, err := current.NewResultFromResult(result)
	if err != nil {
		return nil, fmt.Errorf("read the plug-ins' answer: %w", err)
	}
	var found []netip.Addr
	for _, ip := range r.IPs {
		if i := ip.Interface; i != nil && (*i < 0 || *i >= len(r.Interfaces) || r.Interfaces[*i].Sandbox == "") {
			continue // the node's
		}
		if a, ok := netip.AddrFromSlice(ip.Address.IP); ok {
			found = append(found, a.Unmap())
		}
	}
	var all []netip.Addr
	for _, ipv6 := range n.families() {
		if i := slices.IndexFunc(found, func(a netip.Addr) bool { return a.Is6() == ipv6 }); i >= 0 {
			all = append(all, found[i])
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("the plug-ins gave no address of the cluster's families: %v", found)
	}
	return all, nil
}

// families tells of each whether it is IPv6, the first first.
func (n *Network) families() []bool {
	var all []bool
	for _, c := range n.ClusterCIDRs {
		all = append(all, c.Addr().Is6())
	}
	return all
}

// valid names the pods' attachments for the plug-ins' collection.
func valid(uids []types.UID) *libcni.GCArgs {
	args := &libcni.GCArgs{ValidAttachments: []cnitypes.GCAttachment{}}
	for _, uid := range uids {
		args.ValidAttachments = append(args.ValidAttachments, cnitypes.GCAttachment{ContainerID: string(uid), IfName: podLink})
	}
	return args
}
