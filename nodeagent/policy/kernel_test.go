package policy_test

import (
	"fmt"
	"maps"
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
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/nodeagent/network"
	"github.com/headway-sh/headway/nodeagent/policy"
)

// space makes a network namespace and pins it; f, if any, runs in it.
func space(t *testing.T, f func() error) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "net")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is thrown away
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), path, "", unix.MS_BIND, "")
		}
		if err == nil && f != nil {
			err = f()
		}
		done <- err
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
func within(path string, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		s, err := netns.GetFromPath(path)
		if err == nil {
			defer s.Close()
			err = netns.Set(s)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	for _, program := range []string{"iptables-restore", "ip6tables-restore", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s", program)
		}
	}
}

// machine is a node with pods that listen on two ports.
type machine struct {
	t       *testing.T
	path    string
	network *network.Network
	model   *policy.Model
	sync    *policy.Sync
	pods    map[string]*corev1.Pod
	spaces  map[string]string
}

func newMachine(t *testing.T) *machine {
	m := &machine{t: t, model: policy.NewModel(bridge, false), pods: map[string]*corev1.Pod{}, spaces: map[string]string{}}
	dir := t.TempDir()
	m.path = space(t, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(lo); err != nil {
			return err
		}
		if m.network, err = network.New(network.Config{Dir: dir, ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}}); err != nil {
			return err
		}
		return m.network.Start(t.Context(), []netip.Prefix{netip.MustParsePrefix("10.244.3.0/24")})
	})
	m.sync = policy.NewSync(policy.IPTables{NetNS: m.path})
	return m
}

func (m *machine) start(name string, app string) {
	m.t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, UID: types.UID(name), Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{NodeName: "here", Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", Protocol: corev1.ProtocolTCP, ContainerPort: 80}}}}}}
	path := space(m.t, nil)
	var addresses []netip.Addr
	err := within(m.path, func() (err error) { addresses, err = m.network.Attach(m.t.Context(), pod, path); return err })
	if err != nil {
		m.t.Fatal(err)
	}
	for _, port := range []string{":80", ":81"} {
		var l net.Listener
		if err := within(path, func() (err error) { l, err = net.Listen("tcp4", port); return err }); err != nil {
			m.t.Fatal(err)
		}
		m.t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					buffer := make([]byte, 1)
					for {
						if _, err := c.Read(buffer); err != nil {
							return
						}
						if _, err := c.Write(buffer); err != nil {
							return
						}
					}
				}()
			}
		}()
	}
	pod.Status.PodIPs = []corev1.PodIP{{IP: addresses[0].String()}}
	m.pods[name], m.spaces[name] = pod, path
	m.model.SetPod(policy.PodOf(pod, addresses))
}

// apply writes the policies and the groups of all pods.
func (m *machine) apply(policies ...*networkingv1.NetworkPolicy) {
	m.t.Helper()
	w := &world{namespaces: map[string]map[string]string{"a": {"team": "x"}}, pods: map[string]*corev1.Pod{}, policies: map[string]*networkingv1.NetworkPolicy{}}
	for name, p := range m.pods {
		w.pods["a/"+name] = p
	}
	for _, p := range policies {
		w.policies["a/"+p.Name] = p
		m.model.SetPolicy(p)
	}
	for _, s := range w.slices() {
		m.model.SetSlice(s)
	}
	if err := m.sync.Write(m.t.Context(), m.model); err != nil {
		m.t.Fatal(err)
	}
}

// dial connects from a pod, or the node, on a blocking socket with a short wait.
func (m *machine) dial(from, to string, port int) (*os.File, error) {
	path := m.spaces[from]
	if from == "node" {
		path = m.path
	}
	fd := -1
	err := within(path, func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		wait := unix.NsecToTimeval(int64(250 * time.Millisecond))
		for _, option := range []int{unix.SO_SNDTIMEO, unix.SO_RCVTIMEO} {
			if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &wait); err != nil {
				return err
			}
		}
		return unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: netip.MustParseAddr(m.pods[to].Status.PodIPs[0].IP).As4()})
	})
	f := os.NewFile(uintptr(fd), "connection")
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// reaches lists who gets through to a pod: from:port.
func (m *machine) reaches(to string) string {
	m.t.Helper()
	var all []string
	for _, from := range append(slices.Sorted(maps.Keys(m.pods)), "node") {
		for _, port := range []int{80, 81} {
			f, err := m.dial(from, to, port)
			if err != nil {
				continue
			}
			f.Close()
			all = append(all, fmt.Sprintf("%s:%d", from, port))
		}
	}
	return strings.Join(all, " ")
}

func allowing(name, app string, rules ...networkingv1.NetworkPolicyIngressRule) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name},
		Spec: networkingv1.NetworkPolicySpec{PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}, Ingress: rules}}
}

func echo(f *os.File) error {
	if _, err := f.WriteString("x"); err != nil {
		return err
	}
	_, err := f.Read(make([]byte, 1))
	return err
}

// TestRealPackets sends them between pods of one node under policies.
func TestRealPackets(t *testing.T) {
	needRoot(t)
	t.Parallel()
	m := newMachine(t)
	m.start("db", "db")
	m.start("web", "web")
	m.start("other", "other")
	want := func(what, to, who string) {
		t.Helper()
		if got := m.reaches(to); got != who {
			t.Errorf("%s: %s is reached by %q, want %q", what, to, got, who)
		}
	}
	m.apply()
	const everybody = "db:80 db:81 other:80 other:81 web:80 web:81 node:80 node:81"
	want("no policies", "db", everybody)

	open, err := m.dial("other", "db", 81)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if err := echo(open); err != nil {
		t.Fatal(err)
	}
	fromWeb := networkingv1.NetworkPolicyIngressRule{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}},
		Ports: []networkingv1.NetworkPolicyPort{{Port: ptr.To(intstr.FromString("http"))}}}
	m.apply(allowing("db", "db", fromWeb))
	want("web's named port", "db", "db:80 db:81 web:80 node:80 node:81")
	want("another pod", "other", everybody)
	if err := echo(open); err != nil {
		t.Errorf("an established connection: %v", err)
	}
	block := networkingv1.NetworkPolicyIngressRule{From: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "0.0.0.0/0", Except: []string{m.pods["web"].Status.PodIPs[0].IP + "/32"}}}},
		Ports: []networkingv1.NetworkPolicyPort{{Port: ptr.To(intstr.FromInt32(81)), EndPort: ptr.To[int32](90)}}}
	m.apply(allowing("db", "db", fromWeb), allowing("more", "db", block))
	want("both add up", "db", "db:80 db:81 other:81 web:80 node:80 node:81")

	closed := allowing("closed", "web")
	closed.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}
	m.apply(allowing("db", "db", fromWeb), closed)
	want("web may not send", "db", "db:80 db:81 other:81 node:80 node:81")

	// A second life finds it all, and repairs what is not as it should be.
	kernel := policy.IPTables{NetNS: m.path}
	if err := kernel.Restore(t.Context(), "*filter\n:"+network.PolicyChain(bridge)+" - [0:0]\n:"+network.PolicyChain(bridge)+"-0123456789ab - [0:0]\n:FOREIGN - [0:0]\nCOMMIT\n"); err != nil {
		t.Fatal(err)
	}
	if err := kernel.Create(t.Context(), bridge+":4:stale", policy.Networks); err != nil {
		t.Fatal(err)
	}
	if err := kernel.Create(t.Context(), "foreign", policy.Addresses); err != nil {
		t.Fatal(err)
	}
	want("without the rules", "db", everybody)
	m.sync = policy.NewSync(kernel)
	m.apply()
	want("repaired", "db", "db:80 db:81 other:81 node:80 node:81")

	if err := within(m.path, func() error { return m.network.Remove(t.Context()) }); err != nil {
		t.Error(err)
	}
	if err := policy.Remove(t.Context(), bridge, false, kernel); err != nil {
		t.Error(err)
	}
	sets, err := kernel.Sets(t.Context(), "")
	if err != nil || len(sets) != 1 {
		t.Errorf("sets left: %v %v", sets, err)
	}
	chains, err := kernel.Chains(t.Context(), "")
	if err != nil || len(chains) != 1 || chains[0] != "FOREIGN" {
		t.Errorf("chains left: %v %v", chains, err)
	}
}

// TestKernelKeepsElements: what is written is what is read, in both families.
func TestKernelKeepsElements(t *testing.T) {
	needRoot(t)
	t.Parallel()
	path := space(t, nil)
	for name, c := range map[string]struct {
		kernel   policy.IPTables
		kind     policy.Kind
		elements []string
	}{
		"addresses":   {policy.IPTables{NetNS: path}, policy.Addresses, []string{"10.0.0.1", "10.0.0.2"}},
		"networks":    {policy.IPTables{NetNS: path}, policy.Networks, []string{"0.0.0.0/1", "10.0.0.0/8", "192.0.2.1/32"}},
		"ports":       {policy.IPTables{NetNS: path}, policy.Ports, []string{"10.0.0.1,tcp:80", "10.0.0.1,udp:80", "10.0.0.1,sctp:80"}},
		"addresses 6": {policy.IPTables{IPv6: true, NetNS: path}, policy.Addresses, []string{"fd00::1"}},
		"networks 6":  {policy.IPTables{IPv6: true, NetNS: path}, policy.Networks, []string{"8000::/1", "fd00::/64", "fd00::1/128"}},
		"ports 6":     {policy.IPTables{IPv6: true, NetNS: path}, policy.Ports, []string{"fd00::1,tcp:65535"}},
	} {
		k, set := c.kernel, "t:"+name
		for range 2 {
			if err := k.Create(t.Context(), set, c.kind); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		for _, e := range c.elements {
			for range 2 {
				if err := k.Add(t.Context(), set, c.kind, e); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		sets, err := k.Sets(t.Context(), set)
		if err != nil || sets[set].Kind != c.kind || !slices.Equal(slices.Sorted(maps.Keys(sets[set].Elements)), slices.Sorted(slices.Values(c.elements))) {
			t.Errorf("%s: the kernel has %v, %v", name, sets, err)
		}
		for _, e := range c.elements {
			for range 2 {
				if err := k.Remove(t.Context(), set, c.kind, e); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		if sets, err := k.Sets(t.Context(), set); err != nil || len(sets[set].Elements) != 0 {
			t.Errorf("%s: left %v, %v", name, sets, err)
		}
		for range 2 {
			if err := k.Destroy(t.Context(), set); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
