package network_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/nodeagent/network"
)

// inNamespace runs the test on a thread with a network of its own; the thread
// ends with it.
func inNamespace(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	runtime.LockOSThread() // never unlocked: the thread is thrown away
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
}

// namespace makes a pod's network namespace pinned at a path.
func namespace(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "net")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), path, "", unix.MS_BIND, "")
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return path
}

// within runs f on a thread in a namespace.
func within(t *testing.T, path string, f func() error) error {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		space, err := netns.GetFromPath(path)
		if err == nil {
			defer space.Close()
			err = netns.Set(space)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// listen answers connections in a namespace with a word.
func listen(t *testing.T, path, word string) {
	t.Helper()
	var l net.Listener
	if err := within(t, path, func() (err error) { l, err = net.Listen("tcp", ":80"); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte(word))
			c.Close()
		}
	}()
}

// fetch connects on the calling thread, with no goroutine of net's in between.
func fetch(address netip.AddrPort) (string, error) {
	family, at := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(address.Port()), Addr: v4(address.Addr())})
	if address.Addr().Is6() {
		family, at = unix.AF_INET6, &unix.SockaddrInet6{Port: int(address.Port()), Addr: address.Addr().As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	file := os.NewFile(uintptr(fd), "socket")
	defer file.Close()
	timeout := unix.NsecToTimeval(int64(5 * time.Second))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout); err != nil {
		return "", err
	}
	if err := unix.Connect(fd, at); err != nil {
		return "", err
	}
	data, err := io.ReadAll(file)
	return string(data), err
}

func v4(a netip.Addr) [4]byte {
	if !a.Is4() {
		return [4]byte{}
	}
	return a.As4()
}

func rules(t *testing.T) string {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "iptables-save").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(output)
}

func newNetwork(t *testing.T, dir string) *network.Network {
	t.Helper()
	n, err := network.New(network.Config{Bridge: "hwt0", Dir: dir, ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:10:244::/56")}})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(t.Context(), []netip.Prefix{netip.MustParsePrefix("10.244.3.0/24"), netip.MustParsePrefix("fd00:10:244:3::/64")}); err != nil {
		t.Fatal(err)
	}
	return n
}

func newPod(uid string, hostPort int32) *corev1.Pod {
	pod := &corev1.Pod{}
	pod.UID = types.UID(uid)
	pod.Spec.Containers = []corev1.Container{{Name: "c", Ports: []corev1.ContainerPort{{ContainerPort: 80, HostPort: hostPort}}}}
	return pod
}

func TestPodsReachEachOther(t *testing.T) {
	inNamespace(t)
	foreign := []string{"-t", "nat", "-A", "POSTROUTING", "-s", "198.51.100.0/24", "-j", "ACCEPT"}
	if output, err := exec.CommandContext(t.Context(), "iptables", foreign...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	out := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "out0"}}
	if err := netlink.LinkAdd(out); err != nil {
		t.Fatal(err)
	}
	address, _ := netlink.ParseAddr("192.0.2.1/24")
	if err := netlink.AddrAdd(out, address); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(out); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	n := newNetwork(t, dir)
	a, b := namespace(t), namespace(t)
	attach := func(n *network.Network, pod *corev1.Pod, path string) netip.Addr {
		t.Helper()
		ips, err := n.Attach(t.Context(), pod, path)
		if err != nil {
			t.Fatal(err)
		}
		return ips[0]
	}
	first := attach(n, newPod("a", 8080), a)
	second := attach(n, newPod("b", 0), b)
	if first.String() != "10.244.3.2" || second.String() != "10.244.3.3" {
		t.Errorf("addresses %s %s", first, second)
	}
	listen(t, a, "from a")
	reach := func(what, path string, to string) {
		t.Helper()
		try := func() error {
			got, err := fetch(netip.MustParseAddrPort(to))
			if err == nil && got != "from a" {
				err = fmt.Errorf("got %q", got)
			}
			return err
		}
		var err error
		if path == "" {
			err = try()
		} else {
			err = within(t, path, try)
		}
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	reach("pod to pod", b, "10.244.3.2:80")
	reach("node to pod", "", "10.244.3.2:80")
	reach("pod to itself", a, "10.244.3.2:80")
	reach("pod to pod by IPv6", b, "[fd00:10:244:3::2]:80")
	reach("node to pod by IPv6", "", "[fd00:10:244:3::2]:80")
	reach("pod to the host port of itself", a, "192.0.2.1:8080")
	reach("node to host port", "", "192.0.2.1:8080")
	reach("pod to host port", b, "192.0.2.1:8080")

	// An agent that starts anew finds all as it was and gives no address twice.
	again := newNetwork(t, dir)
	if got := attach(again, newPod("a", 8080), a); got != first {
		t.Errorf("address after a restart %s, want %s", got, first)
	}
	if had, err := again.Leased(); err != nil || len(had) != 2 || !slices.Contains(had["a"], first) || len(had["a"]) != 2 {
		t.Errorf("leased %v, %v", had, err)
	}
	reach("pod to pod after a restart", b, "10.244.3.2:80")
	third := newNetwork(t, dir)
	for _, uid := range []types.UID{"a", "b", "never"} {
		for range 2 {
			if err := third.Detach(t.Context(), uid); err != nil {
				t.Error(err)
			}
		}
	}
	if err := third.SetRoute("n2", netip.MustParsePrefix("10.244.4.0/24"), netip.MustParseAddr("192.0.2.2")); err != nil {
		t.Error(err)
	}
	if err := third.SetRoute("n3", netip.MustParsePrefix("fd00:10:244:5::/64"), netip.MustParseAddr("192.0.2.3")); err == nil {
		t.Error("a route of another family needs a tunnel, and there is no address for one")
	}
	for range 3 {
		if err := third.Remove(t.Context()); err != nil {
			t.Error(err)
		}
	}
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if name := l.Attrs().Name; name != "lo" && name != "out0" {
			t.Errorf("link %s is left", name)
		}
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil || len(routes) != 1 {
		t.Errorf("routes left: %v %v", routes, err)
	}
	if left := chains(rules(t)); len(left) > 0 {
		t.Errorf("rules left: %v", left)
	}
}

// chains gives what the rules hold besides the kernel's own chains and the
// test's foreign rule.
func chains(saved string) []string {
	var all []string
	for line := range strings.Lines(saved) {
		switch line = strings.TrimSpace(line); {
		case strings.HasPrefix(line, ":") && strings.Contains(line, " - "):
			all = append(all, line)
		case strings.HasPrefix(line, "-A") && !strings.Contains(line, "198.51.100.0/24"):
			all = append(all, line)
		}
	}
	if !strings.Contains(saved, "198.51.100.0/24") {
		all = append(all, "the foreign rule is gone")
	}
	return all
}
