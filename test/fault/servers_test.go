package fault_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/internal/leader"
)

// threeServers starts a cluster of three on one machine, following repo. They
// share the authorities that the first one makes.
func threeServers(t *testing.T, repo string) []*server {
	t.Helper()
	const n = 3
	names, urls, members := make([]string, n), make([]string, n), make([]string, n)
	for i := range n {
		names[i] = fmt.Sprintf("s%d", i+1)
		urls[i] = fmt.Sprintf("https://127.0.0.1:%d", freePort(t))
		members[i] = names[i] + "=" + urls[i]
	}
	all := make([]*server, n)
	for i := range n {
		all[i] = newServer(t, "--disable", "agent", "--node-name", names[i], "--etcd-peer-url", urls[i],
			"--etcd-initial-cluster", strings.Join(members, ","), "--etcd-cluster-token", "fault", "--repo", repo)
		if i > 0 {
			copyAuthorities(t, all[0].dir, all[i].dir)
		}
		all[i].start()
		if i == 0 {
			eventually(t, "the authorities and the key of what is stored", func() string {
				for _, name := range []string{"etcd-member.crt", "encryption.yaml"} {
					if _, err := os.Stat(filepath.Join(all[0].dir, "pki", name)); err != nil {
						return err.Error()
					}
				}
				return ""
			})
		}
	}
	for _, s := range all {
		s.ready()
	}
	return all
}

// copyAuthorities gives another server what the first one has made, but the
// first one's own certificate.
func copyAuthorities(t *testing.T, from, to string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(from, "pki"))
	check(t, err)
	check(t, os.MkdirAll(filepath.Join(to, "pki"), 0o700))
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "etcd-member") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(from, "pki", e.Name()))
		check(t, err)
		check(t, os.WriteFile(filepath.Join(to, "pki", e.Name()), content, 0o600))
	}
}

// holder is who runs a singleton.
func (s *server) holder(name string) string {
	var lease coordinationv1.Lease
	if err := s.client.Get(s.t.Context(), client.ObjectKey{Namespace: "kube-system", Name: name}, &lease); err != nil || lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

var singletons = []string{"kube-scheduler", "kube-controller-manager", "gitsource"}

// leads tells whether the server's etcd member is the leader.
func (s *server) leads() bool {
	s.t.Helper()
	endpoint := "unix://" + filepath.Join(s.dir, "etcd", "client.sock")
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: patience})
	check(s.t, err)
	defer c.Close()
	status, err := c.Status(s.t.Context(), endpoint)
	check(s.t, err)
	return status.Leader == status.Header.MemberId
}

// TestThreeServersSurviveOne writes through each of three servers, kills the
// leader and then the one that applies commits, and goes on through the others.
func TestThreeServersSurviveOne(t *testing.T) {
	r := newRepository(t)
	r.write("a.yaml", configMap("a", "one"))
	r.write("boat.yaml", boats)
	first := r.push("first")
	all := threeServers(t, r.bare())
	all[0].awaitPhase("main", first, v1alpha1.ReleaseHealthy)
	for i, s := range all {
		check(t, s.client.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("by-%d", i)}, Data: map[string]string{"key": "x"}}))
	}
	for _, s := range all {
		if got := s.values("a", "by-0", "by-1", "by-2"); got != "one x x x" {
			t.Fatalf("a server sees %q", got)
		}
	}
	all[0].readyNode("n1")

	// The leader of the store dies, and the others go on.
	at := slices.IndexFunc(all, (*server).leads)
	if at < 0 {
		t.Fatal("nobody leads")
	}
	all[at].kill()
	for i := 1; i < 3; i++ {
		s := all[(at+i)%3]
		eventually(t, "a write without the leader", func() string {
			if err := s.client.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("without-%d", i)}, Data: map[string]string{"key": "x"}}); err != nil && !apierrors.IsAlreadyExists(err) {
				return err.Error()
			}
			return ""
		})
	}
	for i := 1; i < 3; i++ {
		if got := all[(at+i)%3].values("by-0", "without-1", "without-2"); got != "x x x" {
			t.Errorf("without the leader a server sees %q", got)
		}
	}
	all[at].start()
	all[at].ready()
	all[at].awaitValues("x x x", "by-0", "without-1", "without-2")

	// The one that applies commits dies, and with it whatever else it leads.
	index := -1
	eventually(t, "the singletons are held", func() string {
		for _, name := range singletons {
			if all[0].holder(name) == "" {
				return name + " has no holder"
			}
		}
		index = map[string]int{"s1": 0, "s2": 1, "s3": 2}[all[0].holder("gitsource")]
		return ""
	})
	// What goes through another server is seen all the same.
	other := all[(index+1)%3]
	check(t, other.as("jane", "system:masters").Patch(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}},
		client.RawPatch("application/merge-patch+json", []byte(`{"data":{"key":"hers"}}`))))
	other.awaitValues("one", "a")
	boat := &unstructured.Unstructured{}
	boat.SetGroupVersionKind(schema.GroupVersionKind{Group: "sea.example.org", Version: "v1", Kind: "Boat"})
	boat.SetNamespace("default")
	boat.SetName("ada")
	check(t, other.as("jane", "system:masters").Patch(t.Context(), boat, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"length":9}}`))))
	eventually(t, "a custom resource is put back", func() string {
		if err := other.client.Get(t.Context(), client.ObjectKeyFromObject(boat), boat); err != nil {
			return err.Error()
		}
		if length, _, _ := unstructured.NestedInt64(boat.Object, "spec", "length"); length != 7 {
			return fmt.Sprintf("its length is %d", length)
		}
		return ""
	})
	check(t, other.client.Create(t.Context(), &v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Name: "second"}, Spec: v1alpha1.GitSourceSpec{URL: r.bare(), Suspend: &v1alpha1.Suspension{Reason: "test"}}}))
	eventually(t, "the second source", func() string {
		if s := other.source("second").Status; len(s.Conditions) == 0 {
			return "nobody looks at it"
		}
		return ""
	})
	all[index].kill()
	left := append(append([]*server{}, all[:index]...), all[index+1:]...)
	eventually(t, "a write through another server", func() string {
		if err := left[0].client.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "after"}, Data: map[string]string{"key": "x"}}); err != nil {
			return err.Error()
		}
		return ""
	})
	for _, s := range left {
		s.awaitValues("one x x x x", "a", "by-0", "by-1", "by-2", "after")
	}
	r.write("a.yaml", configMap("a", "two"))
	second := r.push("second")
	left[0].awaitPhase("main", second, v1alpha1.ReleaseHealthy)
	left[1].awaitValues("two", "a")
	eventually(t, "the singletons move", func() string {
		for _, name := range singletons {
			if h := left[0].holder(name); h == fmt.Sprintf("s%d", index+1) || h == "" {
				return fmt.Sprintf("%s is held by %q", name, h)
			}
		}
		return ""
	})
	pod := left[1].pod("p")
	eventually(t, "the pod", func() string {
		if node := left[0].boundTo(pod); node != "n1" {
			return fmt.Sprintf("is on %q", node)
		}
		return ""
	})

	// The dead one comes back and has missed nothing.
	all[index].start()
	all[index].ready()
	all[index].awaitValues("two x x x x", "a", "by-0", "by-1", "by-2", "after")
	handOver(t, all)
}

// handOver stops the server that leads most, in good order: another has all
// that it led at once, and not when its Leases have run out.
func handOver(t *testing.T, all []*server) {
	t.Helper()
	index := slices.Index([]string{"s1", "s2", "s3"}, all[0].holder("kube-scheduler"))
	if index < 0 {
		t.Fatal("nobody schedules")
	}
	stopped, other := all[index], all[(index+1)%3]
	leads := slices.DeleteFunc(slices.Clone(singletons), func(name string) bool { return other.holder(name) != fmt.Sprintf("s%d", index+1) })
	began := time.Now()
	check(t, stopped.cmd.Process.Signal(syscall.SIGTERM))
	eventually(t, "the singletons handed over", func() string {
		for _, name := range leads {
			if h := other.holder(name); h == fmt.Sprintf("s%d", index+1) || h == "" {
				return fmt.Sprintf("%s is held by %q", name, h)
			}
		}
		return ""
	})
	took := time.Since(began)
	pod := other.pod("after-hand-over")
	eventually(t, "a pod for the new scheduler", func() string {
		if node := other.boundTo(pod); node != "n1" {
			return fmt.Sprintf("is on %q", node)
		}
		return ""
	})
	t.Logf("%v handed over after %s, a pod bound after %s", leads, took.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	stopped.wait()
	if took > leader.Duration {
		t.Errorf("it took %s: they were taken from it, not given", took)
	}
}

const boats = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.sea.example.org}
spec:
  group: sea.example.org
  scope: Namespaced
  names: {plural: boats, singular: boat, kind: Boat, listKind: BoatList}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {length: {type: integer}}}
---
apiVersion: sea.example.org/v1
kind: Boat
metadata: {name: ada, namespace: default}
spec: {length: 7}
`
