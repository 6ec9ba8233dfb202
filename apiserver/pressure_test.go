package apiserver_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/apiserver"
	"github.com/headway-sh/headway/apiserver/etcd"
)

// startSmall runs a server whose storage has a quota.
func startSmall(t *testing.T, quota int64) *apiserver.Server {
	t.Helper()
	server, err := apiserver.Start(t.Context(), apiserver.Config{
		DataDir: t.TempDir(), Listen: netip.MustParseAddrPort("127.0.0.1:0"), Logger: slog.New(slog.DiscardHandler), Etcd: etcd.Config{Quota: quota},
	})
	check(t, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	t.Cleanup(func() { stop(); check(t, <-ended) })
	return server
}

// TestFloodStopsBeforeTheStorageIsFull fills the storage with large objects as
// fast as one client can: creates are refused while there is still room for
// leases, changes and deletions.
func TestFloodStopsBeforeTheStorageIsFull(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 120 MB")
	}
	t.Parallel()
	server := startSmall(t, 128<<20)
	client := adminClient(t, server)

	event := func(n int) error {
		_, err := client.CoreV1().Events("default").Create(t.Context(), &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("e", n)},
			InvolvedObject: corev1.ObjectReference{Namespace: "default", Name: "x", Kind: "Pod"}}, metav1.CreateOptions{})
		return err
	}
	full := func(err error) bool {
		status, ok := err.(apierrors.APIStatus)
		return ok && status.Status().Code == http.StatusInsufficientStorage
	}
	large := make([]byte, 900<<10)
	source := rand.NewChaCha8([32]byte{1})
	made, events := 0, 0
	for ; made < 140; made++ {
		_, _ = source.Read(large) // it never fails
		_, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("c", made)},
			BinaryData: map[string][]byte{"d": large}}, metav1.CreateOptions{})
		if full(err) {
			break
		}
		check(t, err)
		if err := event(made); err == nil {
			events = made
		} else if !full(err) {
			t.Fatal(err)
		}
	}
	t.Logf("%d large objects fit; events stopped after %d", made, events)
	if made < 60 || made > 125 || events >= made-1 {
		t.Errorf("%d objects were let in, and events until the one before %d", made, events+1)
	}
	_, err := client.CoordinationV1().Leases("kube-system").Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "l"}}, metav1.CreateOptions{})
	check(t, err)
	one, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), "c1", metav1.GetOptions{})
	check(t, err)
	one.BinaryData = nil
	_, err = client.CoreV1().ConfigMaps("default").Update(t.Context(), one, metav1.UpdateOptions{})
	check(t, err)
	check(t, client.CoreV1().ConfigMaps("default").Delete(t.Context(), "c2", metav1.DeleteOptions{}))
}

// TestChangesDoNotFillTheStorage changes one large object again and again: what
// it was before is forgotten in time, and nobody is refused.
func TestChangesDoNotFillTheStorage(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 110 MB")
	}
	t.Parallel()
	server := startSmall(t, 48<<20)
	client := adminClient(t, server)
	maps, leases := client.CoreV1().ConfigMaps("default"), client.CoordinationV1().Leases("kube-system")
	one, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c"}}, metav1.CreateOptions{})
	check(t, err)
	lease, err := leases.Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "l"}}, metav1.CreateOptions{})
	check(t, err)
	source := rand.NewChaCha8([32]byte{2})
	for i := range 120 {
		large := make([]byte, 900<<10)
		_, _ = source.Read(large) // it never fails
		one.BinaryData = map[string][]byte{"d": large}
		if one, err = maps.Update(t.Context(), one, metav1.UpdateOptions{}); err != nil {
			t.Fatalf("change %d: %v", i, err)
		}
		lease.Spec.HolderIdentity = ptr.To(fmt.Sprint(i))
		if lease, err = leases.Update(t.Context(), lease, metav1.UpdateOptions{}); err != nil {
			t.Fatalf("lease after change %d: %v", i, err)
		}
	}
	check(t, maps.Delete(t.Context(), "c", metav1.DeleteOptions{}))
}
