package plan_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/nodeagent/plan"
)

func TestSysctls(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		sysctl            string
		hostNet, rejected bool
		allowed           []string
	}{
		"allowed":          {sysctl: "kernel.msgmax", allowed: []string{"kernel.msg*"}},
		"allowed by name":  {sysctl: "net/core/somaxconn", allowed: []string{"net.core.somaxconn"}},
		"another allowed":  {sysctl: "kernel.shmmax", allowed: []string{"kernel.msg*"}, rejected: true},
		"allowed, hostNet": {sysctl: "net.core.somaxconn", allowed: []string{"net.*"}, hostNet: true, rejected: true},
		"safe":             {sysctl: "kernel.shm_rmid_forced"},
		"safe net":         {sysctl: "net.ipv4.tcp_syncookies"},
		"slashes":          {sysctl: "net/ipv4/tcp_syncookies"},
		"unsafe":           {sysctl: "kernel.msgmax", rejected: true},
		"of the node":      {sysctl: "vm.swappiness", rejected: true},
		"net of the node":  {sysctl: "net.ipv4.tcp_syncookies", hostNet: true, rejected: true},
		"unsafe, slashes":  {sysctl: "kernel/msgmax", rejected: true},
		"ipc with hostNet": {sysctl: "kernel.shm_rmid_forced", hostNet: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := podOf(corev1.RestartPolicyAlways, "c")
			pod.Spec.HostNetwork = tc.hostNet
			pod.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: tc.sysctl, Value: "1"}}}
			failure := plan.Admit(pod, plan.Node{Sysctls: tc.allowed})
			if (failure != nil) != tc.rejected || failure != nil && failure.Reason != "SysctlForbidden" {
				t.Errorf("failure %+v, want rejected %v", failure, tc.rejected)
			}
		})
	}
}

func TestUnsafeSysctl(t *testing.T) {
	t.Parallel()
	for pattern, ok := range map[string]bool{
		"kernel.msg*": true, "net.core.somaxconn": true, "net/core/*": true, "fs.mqueue.*": true, "kernel.sem": true,
		"kernel.*": false, "*": false, "vm.swappiness": false, "net.*.forwarding": false,
	} {
		if err := plan.UnsafeSysctl(pattern); (err == nil) != ok {
			t.Errorf("%s: %v", pattern, err)
		}
	}
}
