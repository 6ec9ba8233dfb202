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
	// objects says that they are of interest.
	objects bool
	got     []string
	// hears, when not nil, is called before the answer.
	hears func()
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
	said := string(m.Event) + " " + m.Subject
	if m.Reason != "" {
		said = string(m.Event) + " (" + m.Reason + ") " + m.Subject
	}
	for _, o := range m.Objects {
		if c.objects {
			said += " " + o.Kind + "/" + o.Name
		}
	}
	c.got = append(c.got, strings.TrimSpace(said))
	if c.hears != nil {
		c.hears()
	}
}

func (c *chat) heard() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

// wants waits until exactly that was heard.
func (h *chat) wants(c *cluster, events ...string) {
	c.t.Helper()
	c.eventually("what is heard", func() string {
		c.clock.Step(time.Second)
		if got := h.heard(); !slices.Equal(got, events) {
			return "heard: " + strings.Join(got, ", ")
		}
		return ""
	})
}

// tells is a notification that a chat hears.
func (c *cluster) tells(name string, h *chat) v1alpha1.Notification {
	c.t.Helper()
	server := httptest.NewServer(h)
	c.t.Cleanup(server.Close)
	c.do(admin, txn.Change{Verb: txn.Create, Ref: txn.Ref{Resource: corev1.Resource("secrets"), Namespace: "default", Name: name}, Object: &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Data: map[string][]byte{"url": []byte(server.URL)},
	}})
	return v1alpha1.Notification{Name: name, SecretRef: v1alpha1.SecretReference{Namespace: "default", Name: name}}
}

// TestNotifications: what happens is told once, also when those who hear of it
// are away for a while, and over restarts.
func TestNotifications(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t.TempDir())
	defer c.stop()
	heard := &chat{fail: 3}
	c.follow("main", func(o *v1alpha1.GitSource) { o.Spec.Notifications = []v1alpha1.Notification{c.tells("chat", heard)} })
	want := func(events ...string) {
		t.Helper()
		heard.wants(c, events...)
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

// TestToldOnceOverAStop: what somebody hears while the engine is being stopped
// is noted, so that the next one does not say it again.
func TestToldOnceOverAStop(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t.TempDir())
	defer func() { c.stop() }()
	heard := &chat{hears: func() { c.endEngine() }}
	c.follow("main", func(o *v1alpha1.GitSource) { o.Spec.Notifications = []v1alpha1.Notification{c.tells("chat", heard)} })
	c.run()
	c.write("one.yaml", configMap("one", "a"))
	c.push("first")
	heard.wants(c, "Healthy first")
	c.stop()
	c.run()
	<-c.observing
	one := txn.Ref{Resource: corev1.Resource("configmaps"), Namespace: "default", Name: "one"}
	c.eventually("drift is heard", func() string {
		c.clock.Step(time.Second)
		if c.get(one) != nil { // again, should the source not have looked yet
			c.do(txn.Identity{Name: "jane"}, txn.Change{Verb: txn.Delete, Ref: one})
		}
		if got := heard.heard(); len(got) < 2 || got[1] != "Drift first" {
			return strings.Join(got, ", ")
		}
		return ""
	})
}

// TestWhoHearsOfWhat: people hear of the objects, events and severities that
// they ask for, of what commits wait for, and of what is fought over.
func TestWhoHearsOfWhat(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t.TempDir())
	defer func() { c.stop() }()
	all, bad, shop, waits := &chat{}, &chat{}, &chat{objects: true}, &chat{}
	c.follow("main", func(o *v1alpha1.GitSource) {
		errors, web, waiting := c.tells("errors", bad), c.tells("shop", shop), c.tells("waits", waits)
		errors.Severity = v1alpha1.SeverityError
		web.Objects = []v1alpha1.NotificationObjects{{Kinds: []string{"ConfigMap"}, Namespaces: []string{"sho?"}, Names: []string{"web-*"}}}
		waiting.Events = []v1alpha1.NotificationEvent{v1alpha1.NotifyWaiting}
		o.Spec.Notifications = []v1alpha1.Notification{c.tells("all", all), errors, web, waiting}
		o.Spec.DependsOn = []v1alpha1.Dependency{{APIVersion: "v1", Kind: "ConfigMap", Namespace: "default", Name: "gate"}}
	})
	inShop := func(name, value string) string {
		return strings.Replace(configMap(name, value), "metadata:\n", "metadata:\n  namespace: shop\n", 1)
	}
	c.run()
	c.write("ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n")
	c.write("web.yaml", inShop("web-a", "a"))
	c.write("db.yaml", inShop("db", "a"))
	c.push("first")
	waits.wants(c, "Waiting (Dependency) first")
	ref := func(namespace, name string) txn.Ref {
		return txn.Ref{Resource: corev1.Resource("configmaps"), Namespace: namespace, Name: name}
	}
	c.do(admin, txn.Change{Verb: txn.Create, Ref: ref("default", "gate"), Object: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "gate"}}})
	shop.wants(c, "Waiting (Dependency) first", "Healthy first ConfigMap/web-a")
	c.write("db.yaml", inShop("db", "b"))
	c.push("second") // which is nothing to the shop
	all.wants(c, "Waiting (Dependency) first", "Healthy first", "Healthy second")
	fight := func(name string) {
		t.Helper()
		for range 6 {
			c.eventually("it is put back", func() string {
				if o, ok := c.get(ref("shop", name)).(*corev1.ConfigMap); !ok || o.Data["key"] == "mine" {
					return "not yet"
				}
				return ""
			})
			changed := c.get(ref("shop", name)).(*corev1.ConfigMap).DeepCopy()
			changed.SetResourceVersion("")
			changed.Data["key"] = "mine"
			c.do(txn.Identity{Name: "jane"}, txn.Change{Verb: txn.Update, Ref: ref("shop", name), Object: changed, FieldManager: "kubectl-edit"})
		}
	}
	fight("db")
	bad.wants(c, "Contended second")
	if got := shop.heard(); len(got) != 2 {
		t.Errorf("the shop hears of others: %q", got)
	}
	fight("web-a")
	bad.wants(c, "Contended second", "Contended second")
	c.eventually("the shop hears of its own", func() string {
		got := shop.heard()
		if last := got[len(got)-1]; last != "Contended second ConfigMap/web-a" && !slices.Contains(got, "Contended second ConfigMap/web-a") {
			return last
		}
		return ""
	})
	for _, said := range shop.heard() {
		if strings.Contains(said, "/db") {
			t.Errorf("the shop hears %q", said)
		}
	}
	if got := waits.heard(); len(got) != 1 {
		t.Errorf("of waits: %q", got)
	}
}
