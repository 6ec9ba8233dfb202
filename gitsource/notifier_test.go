package gitsource_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/notify"
)

// chat is somebody who hears; the first tries fail.
type chat struct {
	mu   sync.Mutex // guards all below
	fail int
	got  []string
}

func (c *chat) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail > 0 {
		c.fail--
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	var m notify.Message
	if json.NewDecoder(r.Body).Decode(&m) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.got = append(c.got, strings.TrimSpace(string(m.Event)+" "+m.Subject))
}

func (c *chat) heard() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

// TestNotifications: what happens is told once, also when those who hear of it
// are away for a while, and over restarts.
func TestNotifications(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t.TempDir())
	defer c.stop()
	heard := &chat{fail: 3}
	server := httptest.NewServer(heard)
	defer server.Close()
	c.do(admin, txn.Change{Verb: txn.Create, Ref: txn.Ref{Resource: corev1.Resource("secrets"), Namespace: "default", Name: "chat"}, Object: &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "chat"}, Data: map[string][]byte{"url": []byte(server.URL)},
	}})
	c.follow("main", func(o *v1alpha1.GitSource) {
		o.Spec.Notifications = []v1alpha1.Notification{{Name: "chat", SecretRef: v1alpha1.SecretReference{Namespace: "default", Name: "chat"}}}
	})
	want := func(events ...string) {
		t.Helper()
		c.eventually("what is heard", func() string {
			c.clock.Step(time.Second)
			if got := heard.heard(); !slices.Equal(got, events) {
				return "heard: " + strings.Join(got, ", ")
			}
			return ""
		})
	}
	c.run()
	c.write("one.yaml", configMap("one", "a"))
	c.push("first")
	want("Healthy first")
	c.write("one.yaml", "kind: nonsense\n")
	c.push("second")
	want("Healthy first", "Refused second")
	c.stop()
	c.run()
	c.write("one.yaml", configMap("one", "b"))
	c.push("third")
	want("Healthy first", "Refused second", "Healthy third")
	c.do(txn.Identity{Name: "jane"}, txn.Change{Verb: txn.Delete, Ref: txn.Ref{Resource: corev1.Resource("configmaps"), Namespace: "default", Name: "one"}})
	want("Healthy first", "Refused second", "Healthy third", "Drift third")
}
