// Package nodes_test drives a cluster of several machines: machines join, their
// pods reach each other, and a lost one is noticed.
package nodes_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/test/e2e/machines"
)

// cidr is the range of the machines' addresses.
const cidr = "10.90.0.0/24"

// noticed is how soon a lost node has to be out of everything here: half of what
// its Lease alone would take. The figures that are aimed at are in docs/STATE.md.
const noticed = 20 * time.Second

// cluster is the machines and what is asked of them here.
type cluster struct{ *machines.Cluster }

// runs is how often a node is lost: HEADWAY_E2E_RUNS, or a few times.
func runs(t *testing.T) int {
	text := os.Getenv("HEADWAY_E2E_RUNS")
	if text == "" {
		return 2
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("HEADWAY_E2E_RUNS: %v", err)
	}
	return n
}

func TestNodes(t *testing.T) {
	c := &cluster{machines.Start(t, 2, cidr)}
	c.deploy(t)
	t.Run("pods reach each other", func(t *testing.T) { reach(t, c) })
	t.Run("one machine has an image", func(t *testing.T) { oneImage(t, c) })
	t.Run("a pod of a file", func(t *testing.T) { ofAFile(t, c) })
	t.Run("network policies", func(t *testing.T) { policies(t, c) })
	t.Run("a lost node is noticed", func(t *testing.T) { lose(t, c) })
	t.Run("a lossy node stays", func(t *testing.T) { lossy(t, c) })
	t.Run("an agent starts without a server", func(t *testing.T) { away(t, c) })
	t.Run("who may join", func(t *testing.T) { admission(t, c) })
	t.Run("a removed node stays out", func(t *testing.T) { removed(t, c) })
}

// deploy runs a peer on each node behind a Service.
func (c *cluster) deploy(t *testing.T) {
	t.Helper()
	objects := []client.Object{&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "peers"}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "peer"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}}}}
	for _, n := range []string{"1", "2"} {
		objects = append(objects, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "peer-" + n, Labels: map[string]string{"app": "peer", "name": "peer-" + n}},
			Spec: corev1.PodSpec{NodeName: "node-" + n, Containers: []corev1.Container{{
				Name: "peer", Image: machines.PeerImage, ImagePullPolicy: corev1.PullNever, Args: []string{"serve", ":8080"}}}}})
	}
	// The service account of the namespace comes a moment after it.
	machines.Await(t, c.Cluster, "the default service account", &corev1.ServiceAccountList{}, func(all map[string]*corev1.ServiceAccount) bool { return all["default"] != nil })
	for _, o := range objects {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	c.awaitEndpoints(t, 2)
}

// awaitEndpoints waits until as many endpoints of the Service are ready.
func (c *cluster) awaitEndpoints(t *testing.T, want int) {
	t.Helper()
	machines.Await(t, c.Cluster, fmt.Sprintf("%d ready endpoints", want), &discoveryv1.EndpointSliceList{}, func(all map[string]*discoveryv1.EndpointSlice) bool {
		ready := 0
		for _, slice := range all {
			if slice.Labels[discoveryv1.LabelServiceName] != "peers" {
				continue
			}
			for _, e := range slice.Endpoints {
				if e.Conditions.Ready != nil && *e.Conditions.Ready {
					ready++
				}
			}
		}
		return ready == want
	})
}

func (c *cluster) awaitNode(t *testing.T, name string, ready bool) {
	t.Helper()
	machines.Await(t, c.Cluster, fmt.Sprintf("node %s ready=%v", name, ready), &corev1.NodeList{}, func(all map[string]*corev1.Node) bool {
		return all[name] != nil && ready == slices.ContainsFunc(all[name].Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		})
	})
}

// reach goes from each pod to each pod, to the Service and through DNS.
func reach(t *testing.T, c *cluster) {
	var pods corev1.PodList
	if err := c.List(t.Context(), &pods, client.InNamespace("default")); err != nil {
		t.Fatal(err)
	}
	var service corev1.Service
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "peers"}, &service); err != nil {
		t.Fatal(err)
	}
	for _, from := range pods.Items {
		for _, to := range pods.Items {
			if got, err := c.Exec(t, from.Name, "get", "http://"+to.Status.PodIP+":8080"); err != nil || got != to.Name {
				t.Errorf("%s to %s: %q, %v", from.Name, to.Name, got, err)
			}
		}
		for _, host := range []string{service.Spec.ClusterIP, "peers", "peers.default.svc.cluster.local"} {
			answers := map[string]bool{}
			for range 20 {
				got, err := c.Exec(t, from.Name, "get", "http://"+host)
				if err != nil {
					t.Errorf("%s to %s: %q, %v", from.Name, host, got, err)
					break
				}
				if answers[got] = true; len(answers) == 2 {
					break
				}
			}
			if len(answers) != 2 {
				t.Errorf("%s to %s: only %v answered", from.Name, host, answers)
			}
		}
		if got, err := c.Exec(t, from.Name, "lookup", "nothing.default.svc.cluster.local"); err == nil {
			t.Errorf("%s finds a service that is not there: %s", from.Name, got)
		}
	}
}

// lose kills, pauses and cuts off a node, and measures how long it takes until
// it is NotReady and out of the endpoints.
func lose(t *testing.T, c *cluster) {
	const node = "node-2"
	var containers string
	for _, how := range []string{"kill", "pause", "cut", "cut --one-way in", "cut --one-way out"} {
		var took []time.Duration
		for range runs(t) {
			containers = c.processes(t, node)
			began := time.Now()
			c.Dev(t, append(strings.Fields(how), node)...)
			c.awaitNode(t, node, false)
			c.awaitEndpoints(t, 1)
			took = append(took, time.Since(began).Round(time.Millisecond))
			if now := c.processes(t, node); now != containers {
				t.Errorf("%s: containers were %s and are %s", how, containers, now)
			}
			c.Dev(t, "heal", node)
			c.awaitNode(t, node, true)
			c.awaitEndpoints(t, 2)
			if now := c.processes(t, node); now != containers {
				t.Errorf("%s and heal: containers were %s and are %s", how, containers, now)
			}
		}
		slices.Sort(took)
		t.Logf("%-17s: noticed after %v (median), %v (longest of %d)", how, took[len(took)/2], took[len(took)-1], len(took))
		if longest := took[len(took)-1]; longest > noticed {
			t.Errorf("%s: noticed after %v, more than %v", how, longest, noticed)
		}
	}
}

// lossy makes a node lose a fifth of its packets each way, and watches that it
// is not taken for lost.
func lossy(t *testing.T, c *cluster) {
	const node, long = "node-2", 8 * time.Second
	c.Dev(t, "loss", node, "20")
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	w, err := c.Watch(ctx, &corev1.NodeList{}, client.MatchingFields{"metadata.name": node})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for event := range w.ResultChan() { // which ends with the time
		o, ok := event.Object.(*corev1.Node)
		if !ok || !slices.ContainsFunc(o.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		}) {
			t.Errorf("%s is not ready at 20%% loss: %v", node, event.Object)
		}
	}
	c.Dev(t, "heal", node)
}

// away starts an agent while the only server is away, and the server later.
func away(t *testing.T, c *cluster) {
	containers := c.processes(t, "node-2")
	c.Dev(t, "kill", "server-1")
	c.Dev(t, "kill", "node-2")
	c.Dev(t, "heal", "node-2")
	c.Dev(t, "--nodes", "2", "--cidr", cidr) // starts what does not run: the server
	// Exec goes through the agent, and names come from what it has watched.
	deadline := time.Now().Add(machines.Patience)
	got, err := c.Exec(t, "peer-2", "get", "http://peers")
	for ; err != nil && time.Now().Before(deadline); got, err = c.Exec(t, "peer-2", "get", "http://peers") {
	}
	if err != nil || !strings.HasPrefix(got, "peer-") {
		t.Errorf("afterwards: %q, %v", got, err)
	}
	c.awaitNode(t, "node-2", true)
	c.awaitEndpoints(t, 2)
	if now := c.processes(t, "node-2"); now != containers {
		t.Errorf("containers were %s and are %s", containers, now)
	}
}

// processes are the identifiers of a node's containers' processes.
func (c *cluster) processes(t *testing.T, node string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "pgrep", "-x", "-d", " ", "peer").Output()
	if err != nil {
		t.Fatalf("list processes of %s: %v", node, err)
	}
	return strings.TrimSpace(string(out))
}

// admission tries to join with what should not do.
func admission(t *testing.T, c *cluster) {
	text, err := os.ReadFile(filepath.Join(c.Dir, "server-1", "token"))
	if err != nil {
		t.Fatal(err)
	}
	token := strings.TrimSpace(string(text))
	cut := strings.LastIndexByte(token, '.')
	other := token[:cut+1] + strings.Repeat("0", 64)
	guessed := strings.SplitN(token, ".", 2)[0] + ".aaaaaaaaaaaaaaaa" + token[cut:]
	join := func(token, node string) string {
		t.Helper()
		out, err := c.Try(t, "agent", "--server", "https://10.90.0.2:6443", "--token", token, "--data-dir", t.TempDir(), "--node-name", node, "--node-ip", "127.0.0.1", "--gossip-port", "0")
		if err == nil {
			t.Errorf("%s joined: %s", node, out)
		}
		return out
	}
	created := strings.TrimSpace(c.Run(t, "token", "create", "--data-dir", filepath.Join(c.Dir, "server-1")))
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-" + strings.SplitN(created, ".", 2)[0]}}
	if err := c.Delete(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	used := strings.TrimSpace(c.Run(t, "token", "create", "--uses", "1", "--data-dir", filepath.Join(c.Dir, "server-1")))
	took := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-" + strings.SplitN(used, ".", 2)[0]}}
	if err := c.Patch(t.Context(), took, client.RawPatch(types.MergePatchType, []byte(`{"stringData":{"headway-uses-left":"0"}}`))); err != nil {
		t.Fatal(err)
	}
	for name, try := range map[string]struct{ token, node, want string }{
		"authority of another cluster": {other, "node-9", "certificate authority is not the one"},
		"guessed token":                {guessed, "node-9", "unknown, revoked or expired"},
		"revoked token":                {created, "node-9", "unknown, revoked or expired"},
		"used token":                   {used, "node-9", "unknown, revoked or expired"},
		"name of a living node":        {token, "node-1", `node "node-1" is alive`},
	} {
		if out := join(try.token, try.node); !strings.Contains(out, try.want) {
			t.Errorf("%s: refused with %q, want %q", name, out, try.want)
		}
	}
	log, err := os.ReadFile(filepath.Join(c.Dir, "server-1.log"))
	if err != nil || strings.Count(string(log), "joining refused") < 3 {
		t.Errorf("the refusals were not logged: %v\n%s", err, log)
	}
}
