package nodeagent_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/nodeagent"
	"github.com/headway-sh/headway/nodeagent/cgroup"
	"github.com/headway-sh/headway/nodeagent/containerdproc"
	"github.com/headway-sh/headway/nodeagent/daemon"
	"github.com/headway-sh/headway/nodeagent/logkeeper"
	"github.com/headway-sh/headway/nodeagent/logs"
	"github.com/headway-sh/headway/nodeagent/network"
	"github.com/headway-sh/headway/nodeagent/runtime/containerd"
	"github.com/headway-sh/headway/nodeagent/runtime/runtimetest"
)

// keeperVariable makes the test binary a log keeper's process.
const keeperVariable = "NODEAGENT_TEST_KEEPER"

// realNode is an agent on containerd, with a bridge and cgroups of its own.
type realNode struct {
	*node
	groups  *cgroup.Groups
	network *network.Network
}

func newRealNode(t *testing.T) *realNode {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("containers need root")
	}
	for _, program := range []string{"containerd", "runc", "busybox", "iptables"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	dir, err := os.MkdirTemp("", "hwa") // short: socket paths are limited
	if err != nil {
		t.Fatal(err)
	}
	parent := "headway-test-" + filepath.Base(dir)
	proc, err := containerdproc.New(containerdproc.Config{Dir: filepath.Join(dir, "c"), Cgroup: "/" + parent + "-node"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "k"), 0o700); err != nil {
		t.Fatal(err)
	}
	keeper := logkeeper.NewProcess(logkeeper.ProcessConfig{
		Dir: filepath.Join(dir, "k"), Command: []string{os.Args[0]}, Env: []string{keeperVariable + "=1"}, Cgroup: "/" + parent + "-node",
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
		defer cancel()
		for _, p := range []*daemon.Daemon{proc.Daemon, keeper} {
			if err := p.Stop(ctx); err != nil {
				t.Error(err)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	n := &realNode{node: &node{t: t, dir: filepath.Join(dir, "d"), watched: map[string]int{}, events: record.NewFakeRecorder(1000)}}
	n.wire(t, parent)
	for _, p := range []*daemon.Daemon{keeper, proc.Daemon} {
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	logger := logkeeper.NewClient(logkeeper.Socket(filepath.Join(dir, "k")))
	rt, err := containerd.New(containerd.Config{Address: proc.Socket(), RunDir: filepath.Join(dir, "r"), Keeper: logger})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := rt.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		// A test that did not end well may have left some.
		if sandboxes, _, err := rt.List(ctx); err == nil {
			for _, s := range sandboxes {
				if err := errors.Join(rt.StopSandbox(ctx, s.PodUID), rt.RemoveSandbox(ctx, s.PodUID)); err != nil {
					t.Error(err)
				}
			}
		}
		cancel()
		running.Wait()
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
		if err := logger.Close(); err != nil {
			t.Error(err)
		}
	})
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rt.Import(t.Context(), bytes.NewReader(runtimetest.Archive(t, busybox))); err != nil {
		t.Fatal(err)
	}
	n.client = n.newClient()
	n.config = nodeagent.Config{
		NodeName: "n1", DataDir: n.dir, Client: n.client, Runtime: rt, Network: n.network, Cgroups: n.groups, Recorder: n.events,
		HostIPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Clock: clock.RealClock{},
	}
	n.start()
	t.Cleanup(func() { n.stop() })
	return n
}

// wire makes network and cgroups and takes them away after the test.
func (n *realNode) wire(t *testing.T, parent string) {
	t.Helper()
	const forward = "/proc/sys/net/ipv4/ip_forward"
	before, err := os.ReadFile(forward)
	if err != nil {
		t.Fatal(err)
	}
	if n.groups, err = cgroup.New(cgroup.Config{Parent: parent}); err != nil {
		t.Fatal(err)
	}
	n.network, err = network.New(network.Config{Bridge: "hwt" + strconv.Itoa(os.Getpid()%10000), Dir: filepath.Join(n.dir, "network"), ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.199.0.0/16")}})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.network.Start(t.Context(), []netip.Prefix{netip.MustParsePrefix("10.199.7.0/24")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.network.Remove(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		if err := n.groups.RemoveAll(); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(forward, before, 0o644); err != nil { //nolint:gosec // a kernel file
			t.Error(err)
		}
	})
}

func TestPodOnContainerd(t *testing.T) {
	n := newRealNode(t)
	n.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "cm"}, Data: map[string]string{"word": "one"}})
	n.create(newPod("web", runtimetest.ImageName, func(p *corev1.Pod) {
		grace := int64(2)
		p.Spec.TerminationGracePeriodSeconds = &grace
		p.Spec.Volumes = []corev1.Volume{
			{Name: "cm", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}}},
			{Name: "ram", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}},
		}
		p.Spec.Containers = []corev1.Container{{
			Name: "app", Image: runtimetest.ImageName, ImagePullPolicy: corev1.PullIfNotPresent,
			Command: []string{"sh", "-c", "hostname; echo $IP $(FOO); cat /cm/word; echo; echo x > /ram/x; echo up > /tmp/up; while :; do sleep 1; done"},
			Env: []corev1.EnvVar{
				{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
				{Name: "FOO", Value: "bar"},
			},
			VolumeMounts: []corev1.VolumeMount{{Name: "cm", MountPath: "/cm"}, {Name: "ram", MountPath: "/ram"}},
			ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{
				Exec: &corev1.ExecAction{Command: []string{"cat", "/tmp/up"}}}},
		}, {
			Name: "second", Image: runtimetest.ImageName, ImagePullPolicy: corev1.PullIfNotPresent,
			Command: []string{"sh", "-c", "while :; do echo hello | busybox nc -l -p 8080; done"},
			ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{
				TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8080)}}},
		}}
	}))
	start := time.Now()
	n.awaitPod("web", "running", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
	t.Logf("running after %s", time.Since(start))
	pod := n.awaitPod("web", "ready", ready)
	t.Logf("ready after %s", time.Since(start))
	if pod.Status.PodIP != "10.199.7.2" {
		t.Errorf("address %s", pod.Status.PodIP)
	}
	c, err := net.DialTimeout("tcp", pod.Status.PodIP+":8080", 5*time.Second)
	if err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	found, _ := n.agent.Find("default", "web", "")
	var out bytes.Buffer
	want := "web\n10.199.7.2 bar\none\n"
	defer func() {
		if t.Failed() {
			t.Logf("log %q", out.String())
		}
	}()
	n.await("the log", func() bool {
		out.Reset()
		err := logs.Read(t.Context(), found.Containers["app"].LogPath, logs.Options{Tail: -1}, &out, &out)
		return err == nil && strings.HasPrefix(out.String(), want)
	})
	n.remove("web")
	n.await("the pod to be gone", func() bool { return n.pod("web") == nil })
	t.Logf("gone after %s", time.Since(start))
	n.await("nothing to be left", func() bool {
		s, c, err := n.config.Runtime.List(t.Context())
		entries, _ := os.ReadDir(filepath.Join(n.dir, "pods"))
		return err == nil && len(s)+len(c)+len(entries) == 0
	})
	n.stop()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), n.dir) {
		t.Errorf("something is left mounted: %v", err)
	}
	for _, hierarchy := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/devices"} {
		left, _ := filepath.Glob(filepath.Join(hierarchy, n.groups.Parent, "*", "pod*"))
		if len(left) > 0 {
			t.Errorf("cgroups left: %v", left)
		}
	}
}
