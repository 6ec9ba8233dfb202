package network

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// maxSearch and its length are what resolvers accept.
const (
	maxNameservers = 3
	maxSearch      = 32
)

// PodFiles is what /etc in a pod is made from.
type PodFiles struct {
	Pod *corev1.Pod
	// Hostname of the pod and the addresses it has.
	Hostname string
	PodIPs   []string
	// KernelName is what goes into /etc/hostname. Default: Hostname.
	KernelName string
	// Cluster DNS as in the agent's configuration.
	ClusterDNS    []netip.Addr
	ClusterDomain string
	// NodeHosts and NodeResolv are the contents of the node's own files.
	NodeHosts, NodeResolv string
}

// Files writes hosts, hostname and resolv.conf into dir/etc. Files that are
// mounted are changed in place, so that containers see it.
func Files(dir string, f PodFiles) error {
	etc := filepath.Join(dir, "etc")
	if err := os.MkdirAll(etc, 0o755); err != nil {
		return err
	}
	for name, content := range map[string]string{"hosts": Hosts(f), "hostname": cmp.Or(f.KernelName, f.Hostname) + "\n", "resolv.conf": Resolv(f)} {
		path := filepath.Join(etc, name)
		if have, err := os.ReadFile(path); err == nil && string(have) == content {
			continue
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil { //nolint:gosec // the pod reads it
			return err
		}
	}
	return nil
}

// FQDN is a pod's name in the cluster's DNS, or its host name without one.
func FQDN(f PodFiles) string {
	if f.Pod.Spec.Subdomain == "" {
		return f.Hostname
	}
	return fmt.Sprintf("%s.%s.%s.svc.%s", f.Hostname, f.Pod.Spec.Subdomain, f.Pod.Namespace, f.ClusterDomain)
}

// Hosts is the content of a pod's /etc/hosts.
func Hosts(f PodFiles) string {
	var b strings.Builder
	if f.Pod.Spec.HostNetwork {
		b.WriteString("# The node's hosts file.\n" + f.NodeHosts)
	} else {
		b.WriteString("# The pod's hosts file, written by the node agent.\n")
		b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n")
		for _, ip := range f.PodIPs {
			if full := FQDN(f); full != f.Hostname {
				fmt.Fprintf(&b, "%s\t%s\t%s\n", ip, full, f.Hostname)
			} else {
				fmt.Fprintf(&b, "%s\t%s\n", ip, f.Hostname)
			}
		}
	}
	for i, alias := range f.Pod.Spec.HostAliases {
		if i == 0 {
			b.WriteString("\n# Entries of the pod's hostAliases.\n")
		}
		fmt.Fprintf(&b, "%s\t%s\n", alias.IP, strings.Join(alias.Hostnames, "\t"))
	}
	return b.String()
}

// Resolv is the content of a pod's /etc/resolv.conf.
func Resolv(f PodFiles) string {
	var servers, search, options []string
	policy := f.Pod.Spec.DNSPolicy
	cluster := policy == corev1.DNSClusterFirstWithHostNet || (policy == corev1.DNSClusterFirst || policy == "") && !f.Pod.Spec.HostNetwork
	switch {
	case policy == corev1.DNSNone:
	case cluster && len(f.ClusterDNS) > 0:
		for _, a := range f.ClusterDNS {
			servers = append(servers, a.String())
		}
		_, more, _ := parseResolv(f.NodeResolv)
		search = append([]string{f.Pod.Namespace + ".svc." + f.ClusterDomain, "svc." + f.ClusterDomain, f.ClusterDomain}, more...)
		options = []string{"ndots:5"}
	default:
		servers, search, options = parseResolv(f.NodeResolv)
	}
	if c := f.Pod.Spec.DNSConfig; c != nil {
		servers = append(servers, c.Nameservers...)
		search = append(search, c.Searches...)
		options = mergeOptions(options, c.Options)
	}
	servers, search = unique(servers, maxNameservers), unique(search, maxSearch)
	var b strings.Builder
	if len(search) > 0 {
		b.WriteString("search " + strings.Join(search, " ") + "\n")
	}
	for _, s := range servers {
		b.WriteString("nameserver " + s + "\n")
	}
	if len(options) > 0 {
		b.WriteString("options " + strings.Join(options, " ") + "\n")
	}
	return b.String()
}

func parseResolv(content string) (servers, search, options []string) {
	for line := range strings.Lines(content) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			servers = append(servers, fields[1])
		case "search", "domain":
			search = fields[1:]
		case "options":
			options = append(options, fields[1:]...)
		}
	}
	return servers, search, options
}

// mergeOptions lets the pod's options replace those of the same name.
func mergeOptions(options []string, own []corev1.PodDNSConfigOption) []string {
	for _, o := range own {
		word := o.Name
		if o.Value != nil {
			word += ":" + *o.Value
		}
		i := slices.IndexFunc(options, func(s string) bool {
			name, _, _ := strings.Cut(s, ":")
			return name == o.Name
		})
		if i >= 0 {
			options[i] = word
		} else {
			options = append(options, word)
		}
	}
	return options
}

func unique(all []string, limit int) []string {
	var out []string
	for _, s := range all {
		if !slices.Contains(out, s) && len(out) < limit {
			out = append(out, s)
		}
	}
	return out
}
