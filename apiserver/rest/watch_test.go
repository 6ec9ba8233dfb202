package rest_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/headway-sh/headway/apiserver/rest"
)

// get asks with plain HTTP.
func (w *world) get(path string, header ...string) *http.Response {
	w.t.Helper()
	return w.request(http.MethodGet, path, "", header...)
}

func (w *world) request(method, path, body string, header ...string) *http.Response {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+path, strings.NewReader(body))
	check(w.t, err)
	r.Header.Set("Test-User", "alice")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	check(w.t, err)
	w.t.Cleanup(func() { response.Body.Close() })
	return response
}

// frame is one JSON watch event.
type frame struct {
	Type   string
	Object struct {
		Kind              string
		Metadata          metav1.ObjectMeta
		Code              int
		Reason            string
		ColumnDefinitions []metav1.TableColumnDefinition
		Rows              []struct{ Cells []any }
	}
}

// frames reads n events.
func frames(t *testing.T, response *http.Response, n int) []frame {
	t.Helper()
	lines := bufio.NewScanner(response.Body)
	var list []frame
	for len(list) < n && lines.Scan() {
		var f frame
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			t.Fatalf("%v in %s", err, lines.Text())
		}
		list = append(list, f)
	}
	if len(list) < n {
		t.Fatalf("the watch ended after %+v: %v", list, lines.Err())
	}
	return list
}

// summary is "TYPE name" of each event.
func summary(list []frame) string {
	var parts []string
	for _, f := range list {
		parts = append(parts, strings.TrimSpace(f.Type+" "+f.Object.Metadata.Name))
	}
	return strings.Join(parts, ", ")
}

const maps = "/api/v1/namespaces/shop/configmaps"

func TestWatchSelectorTransitions(t *testing.T) {
	w := newWorld(t)
	w.namespace("shop")
	ctx, c := t.Context(), w.client("alice").CoreV1().ConfigMaps("shop")
	response := w.get(maps + "?watch=1&labelSelector=tier%3Dfront")
	label := func(name, value string) {
		t.Helper()
		_, err := c.Patch(ctx, name, types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{"tier":%q}}}`, value), metav1.PatchOptions{})
		check(t, err)
	}
	_, err := c.Create(ctx, configMap("a"), metav1.CreateOptions{})
	check(t, err)
	label("a", "front") // begins to match
	label("a", "front2")
	last, err := c.Get(ctx, "a", metav1.GetOptions{})
	check(t, err)
	label("a", "front")
	_, err = c.Update(ctx, func() *corev1.ConfigMap {
		m, _ := c.Get(ctx, "a", metav1.GetOptions{})
		m.Data = map[string]string{"x": "y"}
		return m
	}(), metav1.UpdateOptions{})
	check(t, err)
	check(t, c.Delete(ctx, "a", metav1.DeleteOptions{}))
	got := frames(t, response, 5)
	if s, want := summary(got), "ADDED a, DELETED a, ADDED a, MODIFIED a, DELETED a"; s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	if left := got[1].Object.Metadata; left.ResourceVersion != last.ResourceVersion || left.Labels["tier"] != "front" {
		t.Errorf("what left the selection has %s %v, want revision %s and the last matching labels", left.ResourceVersion, left.Labels, last.ResourceVersion)
	}
}

func TestWatchInitialEvents(t *testing.T) {
	w := newWorld(t)
	w.namespace("shop")
	c := w.client("alice").CoreV1().ConfigMaps("shop")
	for _, name := range []string{"a", "b"} {
		_, err := c.Create(t.Context(), configMap(name), metav1.CreateOptions{})
		check(t, err)
	}
	list, err := c.List(t.Context(), metav1.ListOptions{})
	check(t, err)
	for name, test := range map[string]struct {
		query, want string
		n           int
	}{
		"unset":     {"", "ADDED a, ADDED b", 2},
		"zero":      {"&resourceVersion=0", "ADDED a, ADDED b", 2},
		"streaming": {"&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", "ADDED a, ADDED b, BOOKMARK", 3},
		"one name":  {"&fieldSelector=metadata.name%3Db", "ADDED b", 1},
		"from list": {"&timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion=" + list.ResourceVersion, "BOOKMARK", 1},
	} {
		t.Run(name, func(t *testing.T) {
			got := frames(t, w.get(maps+"?watch=1"+test.query), test.n)
			if s := summary(got); s != test.want {
				t.Errorf("got %s, want %s", s, test.want)
			}
			last := got[len(got)-1]
			if last.Type != "BOOKMARK" {
				return
			}
			if v := last.Object.Metadata.ResourceVersion; v != list.ResourceVersion || last.Object.Kind != "ConfigMap" {
				t.Errorf("bookmark %+v, want revision %s", last, list.ResourceVersion)
			}
			if end := last.Object.Metadata.Annotations[metav1.InitialEventsAnnotationKey]; (end == "true") != (name == "streaming") {
				t.Errorf("the bookmark says initial events end: %q", end)
			}
		})
	}
}

func TestWatchTable(t *testing.T) {
	w := newWorld(t)
	w.namespace("shop")
	c := w.client("alice").CoreV1().ConfigMaps("shop")
	response := w.get(maps+"?watch=1", "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
	for _, name := range []string{"a", "b"} {
		_, err := c.Create(t.Context(), configMap(name, "k", "v"), metav1.CreateOptions{})
		check(t, err)
	}
	got := frames(t, response, 2)
	if got[0].Object.Kind != "Table" || len(got[0].Object.ColumnDefinitions) == 0 || len(got[1].Object.ColumnDefinitions) != 0 {
		t.Errorf("the columns must come once: %+v", got)
	}
	if row := got[1].Object.Rows[0].Cells; row[0] != "b" {
		t.Errorf("row %v", row)
	}
}

func TestWatchExpired(t *testing.T) {
	w := newWorld(t)
	w.namespace("shop")
	c := w.client("alice").CoreV1().ConfigMaps("shop")
	for i := range 5 {
		_, err := c.Create(t.Context(), configMap(fmt.Sprint("a", i)), metav1.CreateOptions{})
		check(t, err)
	}
	before, err := c.Get(t.Context(), "a3", metav1.GetOptions{})
	check(t, err)
	w.restart()
	resumed := w.get(maps + "?watch=1&resourceVersion=" + before.ResourceVersion)
	if got := summary(frames(t, resumed, 1)); got != "ADDED a4" {
		t.Errorf("resumed from before the start with %s", got)
	}
	check(t, w.backend.Compact(t.Context(), mustRevision(before.ResourceVersion)))
	w.restart()
	response := w.get(maps + "?watch=1&resourceVersion=2")
	if response.StatusCode != http.StatusOK {
		t.Errorf("status %s", response.Status)
	}
	got := frames(t, response, 1)[0]
	if got.Type != "ERROR" || got.Object.Code != http.StatusGone || got.Object.Reason != "Expired" {
		t.Errorf("got %+v", got)
	}
	response = w.get(maps + "?watch=1&resourceVersion=999999")
	if response.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("a revision of the future: %s", response.Status)
	}
}

// A watch in which nothing happens for longer than a client may stall goes on,
// over HTTP/2 too, where a write deadline ends a stream that writes nothing.
func TestQuietWatchOverHTTP2(t *testing.T) {
	w := newWorld(t, func(c *rest.Config) {
		c.StallTime = 20 * time.Millisecond
	})
	w.namespace("shop")
	maps := w.client("alice").CoreV1().ConfigMaps("shop")
	_, err := maps.Create(t.Context(), configMap("a"), metav1.CreateOptions{})
	check(t, err)
	server := httptest.NewUnstartedServer(w)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/api/v1/namespaces/shop/configmaps?watch=1", nil)
	check(t, err)
	r.Header.Set("Test-User", "alice")
	response, err := server.Client().Do(r)
	check(t, err)
	t.Cleanup(func() { response.Body.Close() })
	if response.ProtoMajor != 2 {
		t.Fatalf("the answer came over %s", response.Proto)
	}
	if got := summary(frames(t, response, 1)); got != "ADDED a" {
		t.Fatalf("at first: %s", got)
	}
	<-time.After(200 * time.Millisecond) // the quiet is what is tested
	_, err = maps.Create(t.Context(), configMap("b"), metav1.CreateOptions{})
	check(t, err)
	if got := summary(frames(t, response, 1)); got != "ADDED b" {
		t.Errorf("after the quiet: %s", got)
	}
}

func TestInformer(t *testing.T) {
	w := newWorld(t, func(c *rest.Config) { c.BookmarkPeriod = 50 * time.Millisecond })
	w.namespace("shop")
	client := w.client("alice")
	_, err := client.CoreV1().ConfigMaps("shop").Create(t.Context(), configMap("a"), metav1.CreateOptions{})
	check(t, err)
	factory := informers.NewSharedInformerFactory(client, 0)
	informer := factory.Core().V1().ConfigMaps().Informer()
	seen := make(chan string, 10)
	_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { seen <- "add " + o.(*corev1.ConfigMap).Name },
		DeleteFunc: func(o any) { seen <- "delete " + o.(*corev1.ConfigMap).Name },
	})
	check(t, err)
	stop := make(chan struct{})
	factory.Start(stop)
	t.Cleanup(func() { close(stop); factory.Shutdown() })
	factory.WaitForCacheSync(stop)
	_, err = client.CoreV1().ConfigMaps("shop").Create(t.Context(), configMap("b"), metav1.CreateOptions{})
	check(t, err)
	check(t, client.CoreV1().ConfigMaps("shop").Delete(t.Context(), "a", metav1.DeleteOptions{}))
	for _, want := range []string{"add a", "add b", "delete a"} {
		if got := <-seen; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
