package apiserver_test

import (
	"io"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/apiserver/authn"
)

// TestRemovedNodeIsNotBelieved takes a node's certificate back: what it has open
// ends, and it gets nothing any more; who joins under the name later is believed.
func TestRemovedNodeIsNotBelieved(t *testing.T) {
	t.Parallel()
	server := start(t)
	owner := server.Peer(admin).Client()
	for _, node := range []string{"n1", "n2"} {
		check(t, owner.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}))
	}
	old, again := personPeer(t, server, "system:node:n1", "system:nodes"), personPeer(t, server, "system:node:n2", "system:nodes")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, old.url+"/api/v1/nodes?watch=1&fieldSelector=metadata.name%3Dn1", nil)
	check(t, err)
	open, err := old.http.Do(request)
	check(t, err)
	defer open.Body.Close()
	if open.StatusCode != http.StatusOK {
		t.Fatal(open.Status)
	}
	check(t, owner.Create(t.Context(), authn.RemovedNode("n1", time.Now().Add(2*time.Second))))
	check(t, owner.Create(t.Context(), authn.RemovedNode("n2", time.Now().Add(-time.Hour))))
	_, err = io.Copy(io.Discard, open.Body) // it ends; whether in the middle of something does not matter
	t.Log("the watch ended:", err)
	if code, text := old.ask(t, http.MethodGet, "/api/v1/nodes/n1", ""); code != http.StatusUnauthorized {
		t.Errorf("the removed node: %d %s", code, text)
	}
	if code, text := again.ask(t, http.MethodGet, "/api/v1/nodes/n2", ""); code != http.StatusOK {
		t.Errorf("the one that joined after the removal: %d %s", code, text)
	}
}
