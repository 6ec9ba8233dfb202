package rest_test

import (
	"log/slog"
	"net/http"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/api/txn/remote"
	"github.com/headway-sh/headway/apiserver/rest"
	"github.com/headway-sh/headway/apiserver/txnhttp"
	"github.com/headway-sh/headway/apiserver/write"
)

// TestTransactionsOverHTTP takes the transaction contract through the whole
// handler: identity, impersonation and authorization by path included.
func TestTransactionsOverHTTP(t *testing.T) {
	w := newWorld(t)
	server, err := txnhttp.New(txnhttp.Config{DB: w.path, Authorizer: w, Committed: func(http.ResponseWriter, *txn.Result, *txn.Committed, error) {}, Codec: remote.Codec{Scheme: w.handler.Scheme},
		Identity: rest.IdentityFrom, Fail: w.handler.Fail, Log: slog.New(slog.DiscardHandler)})
	check(t, err)
	w.handler.Txn = server
	namespaces := schema.GroupResource{Resource: "namespaces"}
	client := func(user string) *remote.Client {
		c, err := remote.New(remote.Config{URL: w.server.URL, HTTP: &http.Client{Transport: w.config(user).WrapTransport(http.DefaultTransport)},
			Identity: user, Scheme: w.handler.Scheme, Resources: []schema.GroupResource{namespaces}})
		check(t, err)
		return c
	}
	w.denied = func(identity txn.Identity, a write.Attributes) bool {
		return (identity.Name == "mallory" && a.Path != "") || (a.Verb == "impersonate" && identity.Name != "applier")
	}
	seen := make(chan txn.Write, 10)
	stop := client("applier").Observe(func(w txn.Write) { seen <- w })
	defer stop()
	<-seen // observing has begun

	create := func(by *remote.Client, as string) error {
		_, _, err := txn.Run(t.Context(), by, txn.Identity{Name: as}, txn.CommitOptions{}, func(txn.View) ([]txn.Change, error) {
			return []txn.Change{{Verb: txn.Create, Ref: txn.Ref{Resource: namespaces, Name: "of-" + as}, Version: "v1", FieldManager: "test",
				Object: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "of-" + as}}}}, nil
		})
		return err
	}
	for _, as := range []string{"applier", "tenant"} {
		check(t, create(client("applier"), as))
		if observed := <-seen; observed.Identity.Name != as || observed.Ref.Name != "of-"+as {
			t.Errorf("observed %+v, want %s", observed, as)
		}
	}
	if err := create(client("tenant"), "applier"); err == nil {
		t.Error("a tenant could take the applier's identity")
	}
	if _, err := client("mallory").View(t.Context()); !apierrors.IsForbidden(err) {
		t.Errorf("by path: %v", err)
	}
}
