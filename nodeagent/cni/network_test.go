package cni_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/nodeagent/cni"
)

// debianPlugins is where the distribution puts the plug-ins.
const debianPlugins = "/usr/lib/cni"

// machine is a network namespace with a data directory, for one test.
type machine struct {
	*testing.T
	dir string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	runtime.LockOSThread() // never unlocked: the thread is thrown away
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	up(t, "lo")
	m := &machine{T: t, dir: t.TempDir()}
	for _, sub := range []string{"conf", "bin"} {
		if err := os.Mkdir(filepath.Join(m.dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func up(t *testing.T, name string) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (m *machine) write(name, text string) {
	m.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o755); err != nil { //nolint:gosec // programs
		m.Fatal(err)
	}
}

// start is an agent's start.
func (m *machine) start() *cni.Network {
	m.Helper()
	n := m.make()
	if err := n.Start(m.Context(), []netip.Prefix{netip.MustParsePrefix("10.99.3.0/24"), netip.MustParsePrefix("fd00:99:3::/64")}); err != nil {
		m.Fatal(err)
	}
	return n
}

func (m *machine) make() *cni.Network {
	m.Helper()
	n, err := cni.New(cni.Config{
		ConfDir: filepath.Join(m.dir, "conf"), BinDirs: []string{filepath.Join(m.dir, "bin"), debianPlugins}, Dir: filepath.Join(m.dir, "cni"),
		ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.99.0.0/16"), netip.MustParsePrefix("fd00:99::/48")}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		m.Fatal(err)
	}
	return n
}

// namespace makes a pod's network namespace pinned at a path.
func (m *machine) namespace(name string) string {
	m.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		m.Fatal(err)
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
		m.Fatal(err)
	}
	m.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) }) // a test may have done it
	return path
}

func within(path string, f func() error) error {
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

// serve answers connections in a namespace with a word.
func (m *machine) serve(path, word string) {
	m.Helper()
	var l net.Listener
	if err := within(path, func() (err error) { l, err = net.Listen("tcp", ":80"); return err }); err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() { l.Close() })
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

// fetch connects on the calling thread, whose network it is.
func fetch(to string) (string, error) {
	address := netip.MustParseAddrPort(to)
	family, at := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(address.Port()), Addr: address.Addr().As16()})
	if address.Addr().Is4() {
		family, at = unix.AF_INET, &unix.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}
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

func (m *machine) reach(what, from, to, want string) {
	m.Helper()
	got, err := "", error(nil)
	try := func() error { got, err = fetch(to); return err }
	if from == "" {
		_ = try() // err has it
	} else if e := within(from, try); e != nil {
		err = e
	}
	if err != nil || got != want {
		m.Errorf("%s: got %q, %v; want %q", what, got, err, want)
	}
}

func (m *machine) leases() []string {
	m.Helper()
	found, err := filepath.Glob(filepath.Join(m.dir, "ipam", "pods", "[1-9f]*"))
	if err != nil {
		m.Fatal(err)
	}
	return found
}

func newPod(uid string, hostPort int32) *corev1.Pod {
	pod := &corev1.Pod{}
	pod.UID, pod.Namespace, pod.Name = types.UID(uid), "shop", "pod-"+uid
	pod.Spec.Containers = []corev1.Container{{Name: "c", Ports: []corev1.ContainerPort{{ContainerPort: 80, HostPort: hostPort}}}}
	return pod
}

// realChain is what a node with the common plug-ins has: addresses of both of
// its ranges, of which it is told at run time.
func (m *machine) realChain() {
	m.Helper()
	for _, name := range []string{"bridge", "host-local", "portmap"} {
		if _, err := os.Stat(filepath.Join(debianPlugins, name)); err != nil {
			m.Skipf("needs the distribution's package containernetworking-plugins: %v", err)
		}
	}
	m.write("conf/10-pods.conflist", `{"cniVersion": "1.0.0", "name": "pods", "plugins": [
		{"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "capabilities": {"ipRanges": true},
		 "ipam": {"type": "host-local", "dataDir": "`+m.dir+`/ipam", "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}},
		{"type": "portmap", "snat": true, "capabilities": {"portMappings": true}}]}`)
}

func (m *machine) attach(n *cni.Network, pod *corev1.Pod, path string) []netip.Addr {
	m.Helper()
	got, err := n.Attach(m.Context(), pod, path)
	if err != nil {
		m.Fatal(err)
	}
	return got
}

func (m *machine) detach(n *cni.Network, uid types.UID) {
	m.Helper()
	for range 2 { // the second has nothing to do
		if err := n.Detach(m.Context(), uid); err != nil {
			m.Error(err)
		}
	}
}

func TestRealPlugins(t *testing.T) {
	m := newMachine(t)
	m.realChain()
	n := m.start()
	a, b := m.namespace("a"), m.namespace("b")
	first, second := m.attach(n, newPod("a", 8080), a), m.attach(n, newPod("b", 0), b)
	if len(first) != 2 || first[0].String() != "10.99.3.2" || first[1].String() != "fd00:99:3::2" {
		t.Errorf("addresses %v", first)
	}
	m.serve(a, "from a")
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "out0"}}); err != nil {
		t.Fatal(err)
	}
	out, _ := netlink.LinkByName("out0")
	address, _ := netlink.ParseAddr("192.0.2.1/24")
	if err := netlink.AddrAdd(out, address); err != nil {
		t.Fatal(err)
	}
	up(t, "out0")
	m.reach("node to pod", "", "10.99.3.2:80", "from a")
	m.reach("pod to pod", b, "10.99.3.2:80", "from a")
	m.reach("pod to pod by IPv6", b, "[fd00:99:3::2]:80", "from a")
	m.reach("node to host port", "", "192.0.2.1:8080", "from a")
	m.reach("pod to host port", b, "192.0.2.1:8080", "from a")

	// The next life finds everything as it is, and frees what nobody holds.
	n = m.start()
	if had, err := n.Leased(); err != nil || len(had) != 2 || len(had["b"]) != 2 || had["b"][0] != second[0] {
		t.Errorf("leased %v, %v", had, err)
	}
	if again := m.attach(n, newPod("a", 8080), a); len(again) != 2 || again[0] != first[0] {
		t.Errorf("after a restart %v, before %v", again, first)
	}
	if err := n.Sweep(t.Context(), func(uid types.UID) bool { return uid == "a" }); err != nil {
		t.Error(err)
	}
	if left := m.leases(); len(left) != 2 {
		t.Errorf("addresses in use: %v", left)
	}
	m.reach("node to the pod that stays", "", "10.99.3.2:80", "from a")

	// The machine starts anew: the namespace has nothing in it.
	if err := unix.Unmount(a, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	n = m.start()
	fresh := m.namespace("a")
	if got := m.attach(n, newPod("a", 8080), fresh); len(got) != 2 {
		t.Errorf("after a reboot %v", got)
	}
	if left := m.leases(); len(left) != 2 {
		t.Errorf("addresses in use after a reboot: %v", left)
	}
	// The configuration goes: pods can still be taken down.
	if err := os.Remove(filepath.Join(m.dir, "conf/10-pods.conflist")); err != nil {
		t.Fatal(err)
	}
	if n.Ready() {
		t.Error("ready without a configuration")
	}
	m.detach(n, "a")
	m.detach(n, "never")
	if left := m.leases(); len(left) != 0 {
		t.Errorf("addresses left: %v", left)
	}
	rules, err := exec.CommandContext(t.Context(), "iptables-save", "-t", "nat").Output()
	if err != nil || strings.Contains(string(rules), "8080") {
		t.Errorf("rules left (%v):\n%s", err, rules)
	}
	if err := n.Remove(t.Context()); err != nil {
		t.Error(err)
	}
}

// plugin is one that writes down how it was called, and fails where the file of
// that name says so.
const plugin = `#!/bin/sh
dir=%s
echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME ${CNI_NETNS:+in} $CNI_ARGS $(tr -d '\n')" >>$dir/calls
if [ "$CNI_COMMAND" = VERSION ]; then
  echo '{"cniVersion": "1.1.0", "supportedVersions": ["0.4.0", "1.0.0", "1.1.0"]}'
  exit
fi
if [ -e $dir/fail-$CNI_COMMAND ]; then
  echo '{"cniVersion": "1.1.0", "code": 100, "msg": "no room", "details": "all lanes are taken"}'
  exit 1
fi
if [ $CNI_COMMAND = ADD ]; then
  nsenter --net=$CNI_NETNS ip link add eth0 type bridge
  echo '{"cniVersion": "1.1.0", "interfaces": [{"name": "node0"}, {"name": "eth0", "sandbox": "'$CNI_NETNS'"}],
         "ips": [{"address": "192.0.2.9/24", "interface": 0}, {"address": "fd00:99::7/64", "interface": 1}, {"address": "10.99.0.7/24", "interface": 1}]}'
fi
`

func (m *machine) recordingChain() {
	m.Helper()
	m.write("bin/lanes", fmt.Sprintf(plugin, m.dir))
	m.write("conf/10-lanes.conflist", `{"cniVersion": "1.1.0", "name": "lanes", "plugins": [{"type": "lanes", "capabilities": {"portMappings": true, "bandwidth": true, "ipRanges": true}}]}`)
}

func (m *machine) calls(command string) []string {
	m.Helper()
	text, err := os.ReadFile(filepath.Join(m.dir, "calls"))
	if err != nil {
		m.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, command+" ") {
			all = append(all, line)
		}
	}
	return all
}

func TestWhatPluginsAreTold(t *testing.T) {
	m := newMachine(t)
	m.recordingChain()
	n := m.start()
	pod := newPod("p", 8443)
	pod.Spec.Containers[0].Ports[0].HostIP = "192.0.2.1"
	pod.Annotations = map[string]string{"kubernetes.io/ingress-bandwidth": "10M"}
	got := m.attach(n, pod, m.namespace("p"))
	// The node's own is not the pod's, and the cluster's first family comes first.
	if fmt.Sprint(got) != "[10.99.0.7 fd00:99::7]" {
		t.Errorf("addresses %v", got)
	}
	added := m.calls("ADD")
	if len(added) != 1 {
		t.Fatalf("ADD: %q", added)
	}
	for _, want := range []string{
		"ADD p eth0 in ", "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=pod-p;", "K8S_POD_UID=p",
		`"portMappings":[{"hostPort":8443,"containerPort":80,"protocol":"tcp","hostIP":"192.0.2.1"}]`,
		`"ipRanges":[[{"subnet":"10.99.3.0/24"}],[{"subnet":"fd00:99:3::/64"}]]`, `"ingressRate":10000000`,
	} {
		if !strings.Contains(added[0], want) {
			t.Errorf("ADD is not told %s: %s", want, added[0])
		}
	}
	if len(m.calls("STATUS")) == 0 {
		t.Error("the plug-in was not asked whether it is ready")
	}

	n = m.start()
	m.attach(n, pod, filepath.Join(m.dir, "p"))
	if len(m.calls("ADD")) != 1 || len(m.calls("CHECK")) != 1 {
		t.Errorf("a restart: %q %q", m.calls("ADD"), m.calls("CHECK"))
	}
	if err := n.Sweep(t.Context(), func(types.UID) bool { return true }); err != nil {
		t.Error(err)
	}
	if gc := m.calls("GC"); len(gc) != 1 || !strings.Contains(gc[0], `{"containerID":"p","ifname":"eth0"}`) {
		t.Errorf("GC: %q", gc)
	}
	m.detach(n, "p")
	if del := m.calls("DEL"); len(del) != 1 || !strings.Contains(del[0], `"prevResult"`) {
		t.Errorf("DEL: %q", del)
	}
}

func TestFailingPlugin(t *testing.T) {
	m := newMachine(t)
	m.recordingChain()
	m.write("fail-STATUS", "")
	n := m.make()
	if err := n.Start(t.Context(), nil); err == nil || n.Ready() {
		t.Errorf("started although the plug-in says it is not ready: %v", err)
	}
	if err := os.Remove(filepath.Join(m.dir, "fail-STATUS")); err != nil {
		t.Fatal(err)
	}
	n = m.start()
	m.write("fail-ADD", "")
	path := m.namespace("p")
	_, err := n.Attach(t.Context(), newPod("p", 0), path)
	if err == nil || !strings.Contains(err.Error(), "no room") || !strings.Contains(err.Error(), "all lanes are taken") || !strings.Contains(err.Error(), `"lanes"`) {
		t.Errorf("error %v", err)
	}
	if len(m.calls("DEL")) != 1 {
		t.Errorf("what ADD may have done was not taken back: %q", m.calls("DEL"))
	}
	// Neither can it be taken back: it is not forgotten, and the next life does it.
	m.write("fail-DEL", "")
	if _, err := n.Attach(t.Context(), newPod("p", 0), path); err == nil {
		t.Error("attached")
	}
	for _, name := range []string{"fail-ADD", "fail-DEL"} {
		if err := os.Remove(filepath.Join(m.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	n = m.start()
	if err := n.Sweep(t.Context(), func(types.UID) bool { return false }); err != nil {
		t.Error(err)
	}
	if len(m.calls("DEL")) != 3 {
		t.Errorf("DEL: %q", m.calls("DEL"))
	}
	// An agent that ends during ADD has not learnt what it did.
	ended, end := context.WithCancel(t.Context())
	m.write("bin/lanes", strings.Replace(fmt.Sprintf(plugin, m.dir), "nsenter", "sleep 60; nsenter", 1))
	time.AfterFunc(200*time.Millisecond, end)
	if _, err := n.Attach(ended, newPod("p", 0), path); err == nil {
		t.Error("attached by an agent that has ended")
	}
	m.write("bin/lanes", fmt.Sprintf(plugin, m.dir))
	n = m.start()
	before := len(m.calls("DEL"))
	m.attach(n, newPod("p", 0), path)
	if len(m.calls("DEL")) != before+1 {
		t.Error("ADD again without DEL in between")
	}
	// A link that somebody has removed is made again.
	if err := within(path, func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkDel(link)
	}); err != nil {
		t.Fatal(err)
	}
	m.attach(n, newPod("p", 0), path)
	if len(m.calls("DEL")) != before+2 {
		t.Error("a pod without its link was not attached anew")
	}
	m.detach(n, "p")
}

func TestConfigurations(t *testing.T) {
	m := newMachine(t)
	n := m.make()
	if err := n.Start(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "no CNI configuration in ") {
		t.Errorf("an empty directory: %v", err)
	}
	m.recordingChain()
	m.write("conf/05-broken.conflist", `{"name": `)
	m.write("conf/99-later.conf", `{"cniVersion": "1.0.0", "name": "later", "type": "missing"}`)
	if err := n.Start(t.Context(), nil); err != nil || !n.Ready() {
		t.Errorf("the first that can be read: %v", err)
	}
	if err := os.Remove(filepath.Join(m.dir, "conf/10-lanes.conflist")); err != nil {
		t.Fatal(err)
	}
	if err := m.make().Start(t.Context(), nil); err == nil || !strings.Contains(err.Error(), `"missing"`) {
		t.Errorf("a plug-in that is not there: %v", err)
	}
}
