// Package network_test sends packets to every kind of Service on three
// machines, and asks cluster DNS for their names, in both proxy modes.
package network_test

import (
	"context"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/test/e2e/machines"
)

const (
	// cidr is the range of the machines' addresses.
	cidr = "10.91.0.0/24"
	// lent is an address that a load balancer would send here.
	lent = "192.0.2.10"
	// settled is how long rules may take to follow.
	settled = 10 * time.Second
)

type cluster struct{ *machines.Cluster }

func TestServices(t *testing.T) {
	c := &cluster{machines.Start(t, 3, cidr)}
	c.deploy(t)
	c.check(t)
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("mode nftables needs nft")
	}
	// One node changes to the other mode, while its pods run on.
	t.Setenv("HEADWAY_PROXY_MODE", "nftables")
	c.Dev(t, "kill", "node-1")
	c.Dev(t, "heal", "node-1")
	c.eventually(t, "the iptables rules go", func() (string, bool) {
		out, err := c.in(t, "node-1", "iptables-save")
		return out, err == nil && !strings.Contains(out, "HW-SERVICES")
	})
	if out, err := c.in(t, "node-1", "nft", "list", "table", "ip", "headway-services"); err != nil {
		t.Fatalf("no table: %v\n%s", err, out)
	}
	t.Run("nftables", c.check)
}

func service(name string, edit func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "peer"}, Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}}}}
	edit(s)
	return s
}

// deploy runs a peer on each node behind Services of every kind.
func (c *cluster) deploy(t *testing.T) {
	t.Helper()
	one := map[string]string{"name": "peer-1"}
	objects := []client.Object{
		service("all", func(s *corev1.Service) { s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, 30080 }),
		service("near", func(s *corev1.Service) {
			s.Spec.Type, s.Spec.Ports[0].NodePort, s.Spec.Selector = corev1.ServiceTypeLoadBalancer, 30081, one
			s.Spec.ExternalTrafficPolicy, s.Spec.HealthCheckNodePort = corev1.ServiceExternalTrafficPolicyLocal, 30090
		}),
		service("here", func(s *corev1.Service) {
			local := corev1.ServiceInternalTrafficPolicyLocal
			s.Spec.InternalTrafficPolicy = &local
		}),
		service("sticky", func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP }),
		service("lent", func(s *corev1.Service) {
			s.Spec.Type, s.Spec.LoadBalancerSourceRanges = corev1.ServiceTypeLoadBalancer, []string{"10.91.0.0/24"}
		}),
		service("empty", func(s *corev1.Service) { s.Spec.Selector = map[string]string{"app": "nobody"} }),
		service("headless", func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }),
		service("alias", func(s *corev1.Service) {
			s.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "all.default.svc.cluster.local"}
		}),
	}
	for n := 1; n <= 3; n++ {
		name := fmt.Sprint("peer-", n)
		objects = append(objects, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "peer", "name": name}},
			Spec: corev1.PodSpec{NodeName: fmt.Sprint("node-", n), Hostname: name, Subdomain: "headless", Containers: []corev1.Container{{
				Name: "peer", Image: machines.PeerImage, ImagePullPolicy: corev1.PullNever, Args: []string{"serve", ":8080"}}}}})
	}
	machines.Await(t, c.Cluster, "the default service account", &corev1.ServiceAccountList{}, func(all map[string]*corev1.ServiceAccount) bool { return all["default"] != nil })
	for _, o := range objects {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	var balanced corev1.Service
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "lent"}, &balanced); err != nil {
		t.Fatal(err)
	}
	balanced.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: lent}}
	if err := c.Status().Update(t.Context(), &balanced); err != nil {
		t.Fatal(err)
	}
	machines.Await(t, c.Cluster, "three ready endpoints", &discoveryv1.EndpointSliceList{}, func(all map[string]*discoveryv1.EndpointSlice) bool {
		ready := 0
		for _, slice := range all {
			for _, e := range slice.Endpoints {
				if slice.Labels[discoveryv1.LabelServiceName] == "all" && e.Conditions.Ready != nil && *e.Conditions.Ready {
					ready++
				}
			}
		}
		return ready == 3
	})
}

// in runs a program in a machine's network.
func (c *cluster) in(t *testing.T, machine string, command ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settled)
	defer cancel()
	out, err := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + filepath.Join(c.Dir, "netns", machine)}, command...)...).CombinedOutput()
	return string(out), err
}

// eventually tries until it is so, for as long as rules may take.
func (c *cluster) eventually(t *testing.T, what string, try func() (string, bool)) {
	t.Helper()
	var last string
	for end := time.Now().Add(settled); time.Now().Before(end); {
		var done bool
		if last, done = try(); done {
			return
		}
	}
	t.Errorf("%s: did not happen; at last %q", what, last)
}

// caller asks for a URL from somewhere.
type caller func(url string) (string, error)

// check goes to every Service from a pod, from nodes and from outside.
func (c *cluster) check(t *testing.T) {
	pod := func(url string) (string, error) { return c.Exec(t, "peer-1", "get", url) }
	curl := []string{"curl", "-s", "-S", "-m", "2"}
	node := func(name string) caller {
		return func(url string) (string, error) { return c.in(t, name, append(curl, url)...) }
	}
	outside := func(url string) (string, error) {
		out, err := exec.CommandContext(t.Context(), curl[0], append(curl[1:], url)...).CombinedOutput()
		return string(out), err
	}
	ips := map[string]string{}
	var services corev1.ServiceList
	if err := c.List(t.Context(), &services, client.InNamespace("default")); err != nil {
		t.Fatal(err)
	}
	for _, s := range services.Items {
		ips[s.Name] = s.Spec.ClusterIP
	}
	var nodes corev1.NodeList
	if err := c.List(t.Context(), &nodes); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes.Items {
		ips[n.Name] = n.Status.Addresses[0].Address
	}
	all := []string{"peer-1", "peer-2", "peer-3"}
	for _, x := range []struct {
		what string
		from caller
		url  string
		want []string
	}{
		{"cluster IP from a pod", pod, "http://" + ips["all"], all},
		{"cluster IP from a node", node("node-1"), "http://" + ips["all"], all},
		{"node port from outside", outside, "http://" + ips["node-1"] + ":30080", all},
		{"node port from another node", node("node-2"), "http://" + ips["node-1"] + ":30080", all},
		{"node port on 127.0.0.1", node("node-1"), "http://127.0.0.1:30080", all},
		{"external policy Local", outside, "http://" + ips["node-1"] + ":30081", all[:1]},
		{"external policy Local does not hold pods", pod, "http://" + ips["node-1"] + ":30081", all[:1]},
		{"internal policy Local", pod, "http://" + ips["here"], all[:1]},
		{"load balancer's address", node("node-1"), "http://" + lent, all},
		{"headless name", pod, "http://peer-3.headless:8080", all[2:]},
		{"ExternalName", pod, "http://alias", all},
	} {
		got := map[string]bool{}
		c.eventually(t, x.what, func() (string, bool) {
			text, err := x.from(x.url)
			if err == nil {
				got[text] = true
			}
			return fmt.Sprintf("%s (%v), answered have %v", text, err, slices.Sorted(maps.Keys(got))), len(got) == len(x.want)
		})
		for name := range got {
			if !slices.Contains(x.want, name) {
				t.Errorf("%s: %q answers", x.what, name)
			}
		}
	}
	c.refused(t, node("node-1"), outside, ips)
	c.kept(t, pod, outside, ips)
}

// refused asks where nobody may answer.
func (c *cluster) refused(t *testing.T, node, outside caller, ips map[string]string) {
	t.Helper()
	for _, x := range []struct {
		what string
		from caller
		url  string
	}{
		{"a service without endpoints", node, "http://" + ips["empty"]},
		{"external policy Local where no endpoint is", outside, "http://" + ips["node-2"] + ":30081"},
	} {
		if got, err := x.from(x.url); err == nil {
			t.Errorf("%s: %q answers", x.what, got)
		}
	}
	began := time.Now()
	if _, err := node("http://" + ips["empty"]); err == nil || time.Since(began) > time.Second {
		t.Errorf("a service without endpoints: %v after %v", err, time.Since(began))
	}
}

// kept asks what must stay: the client's endpoint, and its address.
func (c *cluster) kept(t *testing.T, pod, outside caller, ips map[string]string) {
	t.Helper()
	first, err := pod("http://" + ips["sticky"])
	for range 3 {
		if got, again := pod("http://" + ips["sticky"]); again != nil || err != nil || got != first {
			t.Errorf("affinity: %q, then %q (%v, %v)", first, got, err, again)
		}
	}
	if got, err := outside("http://" + ips["node-1"] + ":30081/client"); err != nil || !strings.HasPrefix(got, "10.91.0.") || got == ips["node-1"] {
		t.Errorf("external policy Local: the pod sees client %q, %v", got, err)
	}
	for machine, want := range map[string]string{"node-1": "200", "node-2": "503"} {
		c.eventually(t, "health check of "+machine, func() (string, bool) {
			out, err := exec.CommandContext(t.Context(), "curl", "-s", "-m", "2", "-o", "/dev/null", "-w", "%{http_code}", "http://"+ips[machine]+":30090/healthz").CombinedOutput()
			return fmt.Sprint(string(out), err), err == nil && string(out) == want
		})
	}
}
