package rest_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientrest "k8s.io/client-go/rest"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/custom"
	"github.com/headway-sh/headway/apiserver/discovery"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/kinds"
	"github.com/headway-sh/headway/apiserver/openapi"
	"github.com/headway-sh/headway/apiserver/rest"
	"github.com/headway-sh/headway/apiserver/store"
	"github.com/headway-sh/headway/apiserver/store/memkv"
	"github.com/headway-sh/headway/apiserver/write"
)

// world is the whole API over an emulated backend.
type world struct {
	t       testing.TB
	store   *store.Store
	backend *memkv.Server
	path    *write.Path
	mu      sync.RWMutex // guards handler while requests are served
	handler *rest.Handler
	server  *httptest.Server
	open    func() (*store.Store, func())
	build   func()
	stop    func()
	denied  func(identity txn.Identity, a write.Attributes) bool
}

// Authorize allows everything that the world does not deny.
func (w *world) Authorize(_ txn.View, identity txn.Identity, a write.Attributes) write.Decision {
	return write.Decision{Allowed: w.denied == nil || !w.denied(identity, a)}
}

// Authenticate believes the User header; without one nobody asks.
func (w *world) Authenticate(_ txn.View, r *http.Request) (txn.Identity, bool, error) {
	name := r.Header.Get("Test-User")
	if name == "" {
		return txn.Identity{}, false, nil
	}
	return txn.Identity{Name: name, Groups: []string{"system:authenticated"}, Address: "192.0.2.1", UserAgent: r.UserAgent()}, true, nil
}

func (w *world) Token(context.Context, txn.View, string, []string) (txn.Identity, []string, error) {
	return txn.Identity{Name: "token-owner"}, nil, nil
}

func newWorld(t testing.TB, change ...func(*rest.Config)) *world {
	t.Helper()
	log := slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	rows := kinds.All()
	table, err := kinds.New(rows)
	check(t, err)
	scheme, err := kinds.Scheme()
	check(t, err)
	w := &world{t: t, backend: memkv.New()}
	resources := make([]store.Resource, len(rows))
	for i, k := range rows {
		resources[i] = store.Resource{Resource: k.Resource(), Prefix: "/registry/" + k.StoragePrefix + "/",
			Namespaced: k.Namespaced, Encode: k.Encode, Decode: k.Decode, Indexes: k.Indexes}
	}
	w.open = func() (*store.Store, func()) {
		t.Helper()
		s, err := store.Open(t.Context(), store.Config{Backend: w.backend, Resources: resources, Logger: log})
		check(t, err)
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		return s, func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("store: %v", err)
			}
		}
	}
	w.build = func() {
		t.Helper()
		w.store, w.stop = w.open()
		w.assemble(rows, table, scheme, log, change)
	}
	w.build()
	w.server = httptest.NewServer(w)
	t.Cleanup(func() {
		w.server.CloseClientConnections()
		w.server.Close()
		w.stop()
	})
	return w
}

// restart opens the store anew on what the backend has.
func (w *world) restart() {
	w.t.Helper()
	w.stop()
	w.build()
}

func (w *world) assemble(rows []*kind.Kind, table *kinds.Table, scheme *runtime.Scheme, log *slog.Logger, change []func(*rest.Config)) {
	t := w.t
	t.Helper()
	var err error
	w.path, err = write.New(write.Config{Store: write.OnStore(w.store), Kinds: rows, Authorizer: w, Scheme: scheme, Log: log})
	check(t, err)
	found, err := discovery.New(rows, nil, rest.VirtualResources())
	check(t, err)
	documents, err := openapi.New(rows, nil, rest.VirtualResources(), scheme, "v1.37.0", log)
	check(t, err)
	c := rest.Config{Log: log, Kinds: &custom.Catalog{Table: table, Kinds: custom.NewKinds()}, Scheme: scheme, Reader: w.store, Writer: w.path, Authenticator: w, Authorizer: w,
		Rules: func(txn.View, txn.Identity, string) ([]rbacv1.PolicyRule, string) {
			return []rbacv1.PolicyRule{{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}}, ""
		},
		Discovery: found, OpenAPI: documents}
	for _, f := range change {
		f(&c)
	}
	handler, err := rest.New(c)
	check(t, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handler = handler
}

// ServeHTTP hands requests to the handler that there is now.
func (w *world) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	w.mu.RLock()
	h := w.handler
	w.mu.RUnlock()
	h.ServeHTTP(out, r)
}

// client speaks JSON as the given user.
func (w *world) config(user string) *clientrest.Config {
	return &clientrest.Config{Host: w.server.URL, QPS: -1, WrapTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context())
			r.Header.Set("Test-User", user)
			return next.RoundTrip(r)
		})
	}}
}

func (w *world) client(user string) *kubernetes.Clientset {
	w.t.Helper()
	c, err := kubernetes.NewForConfig(w.config(user))
	check(w.t, err)
	return c
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b)
	return len(b), nil
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
