package nodes_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/test/e2e/machines"
)

func podReady(pod *corev1.Pod) bool {
	if pod == nil {
		return false
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// oneImage loads an image on one machine, where no registry is, and runs it on
// the other.
func oneImage(t *testing.T, c *cluster) {
	const image = "example.org/only-here:1"
	c.Run(t, "image", "load", "--data-dir", filepath.Join(c.Dir, "node-1"), machines.Archive(t, image))
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "elsewhere"}, Spec: corev1.PodSpec{
		NodeName: "node-2", Containers: []corev1.Container{{Name: "peer", Image: image, ImagePullPolicy: corev1.PullIfNotPresent, Args: []string{"serve", ":8080"}}}}}
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	machines.Await(t, c.Cluster, "the pod to run what the other machine has", &corev1.PodList{}, func(all map[string]*corev1.Pod) bool { return podReady(all["elsewhere"]) })
	if err := c.Delete(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
}

// removed takes a node out, whose agent runs on: it is not believed any more.
func removed(t *testing.T, c *cluster) {
	c.Run(t, "node", "remove", "node-2", "--force", "--delete-emptydir-data", "--timeout", "40s")
	machines.Await(t, c.Cluster, "a server to end the node", &corev1.NodeList{}, func(all map[string]*corev1.Node) bool { return all["node-1"] != nil && all["node-2"] == nil })
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	identity := filepath.Join(c.Dir, "node-2", "identity", "client.pem")
	config.CertData, config.KeyData, config.CertFile, config.KeyFile = nil, nil, identity, identity
	thief, err := client.New(config, client.Options{})
	if err == nil {
		err = thief.Get(t.Context(), client.ObjectKey{Name: "node-1"}, &corev1.Node{})
	}
	if !apierrors.IsUnauthorized(err) {
		t.Errorf("with the removed node's certificate: %v", err)
	}
	if names := c.Run(t, "node", "list", "-o", "name"); strings.Contains(names, "node-2") || !strings.Contains(names, "node-1") {
		t.Errorf("the nodes are %q", names)
	}
}

// ofAFile runs a pod of the machine's own and ends it with its file.
func ofAFile(t *testing.T, c *cluster) {
	path := filepath.Join(c.Dir, "node-2", "manifests", "own.yaml")
	text := `{apiVersion: v1, kind: Pod, metadata: {name: own}, spec: {containers: [{name: peer, image: ` + machines.PeerImage + `, imagePullPolicy: Never, args: [serve, ":8081"]}]}}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	machines.Await(t, c.Cluster, "the file's pod to be ready", &corev1.PodList{}, func(all map[string]*corev1.Pod) bool { return podReady(all["own-node-2"]) })
	if got, err := c.Exec(t, "own-node-2", "get", "http://peers"); err != nil || !strings.HasPrefix(got, "peer-") {
		t.Errorf("from it: %q, %v", got, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	machines.Await(t, c.Cluster, "the pod to go with its file", &corev1.PodList{}, func(all map[string]*corev1.Pod) bool { return all["own-node-2"] == nil })
}
