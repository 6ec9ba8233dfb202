package plan

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/nodeagent/status"
)

// safeSysctls are the kernel parameters that a pod has of its own and that
// harm nobody else ("Using sysctls in a Kubernetes Cluster").
var safeSysctls = []string{
	"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
	"net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
	"net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
}

// sysctls refuses kernel parameters that are not safe, or that would be set
// for the whole node because the pod shares its namespace.
func sysctls(pod *corev1.Pod, allowed []string) *status.Failure {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	for _, s := range pod.Spec.SecurityContext.Sysctls {
		name := SysctlName(s.Name)
		why := ""
		switch {
		case pod.Spec.HostNetwork && strings.HasPrefix(name, "net."):
			why = "not allowed with host net enabled"
		case pod.Spec.HostIPC && isIPC(name):
			why = "not allowed with host ipc enabled"
		case !slices.Contains(safeSysctls, name) && !matches(allowed, name):
			why = "not allowlisted"
		default:
			continue
		}
		return &status.Failure{Reason: "SysctlForbidden", Message: fmt.Sprintf("forbidden sysctl: %q %s", name, why)}
	}
	return nil
}

// isIPC tells the parameters of an IPC namespace.
func isIPC(name string) bool {
	return strings.HasPrefix(name, "kernel.shm") || strings.HasPrefix(name, "kernel.msg") || name == "kernel.sem" || strings.HasPrefix(name, "fs.mqueue.")
}

// UnsafeSysctl checks a pattern for parameters that a node allows beside the
// safe ones: a name, or a beginning followed by "*", of those that a pod has of
// its own.
func UnsafeSysctl(pattern string) error {
	name := SysctlName(strings.TrimSuffix(pattern, "*"))
	if strings.Contains(name, "*") || !isIPC(name) && !strings.HasPrefix(name, "net.") {
		return fmt.Errorf("sysctl %q: only kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.* and net.* are a pod's own", pattern)
	}
	return nil
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if beginning, ok := strings.CutSuffix(p, "*"); ok {
			return strings.HasPrefix(name, SysctlName(beginning))
		}
		return name == SysctlName(p)
	})
}

// SysctlName is a parameter's name with dots between its parts. Slashes are
// taken too, and then a dot belongs to a part, such as eth0.1.
func SysctlName(name string) string {
	if i := strings.IndexAny(name, "./"); i < 0 || name[i] == '.' {
		return name
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '/':
			return '.'
		case '.':
			return '/'
		}
		return r
	}, name)
}
