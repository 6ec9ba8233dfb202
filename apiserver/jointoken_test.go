package apiserver_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/apiserver"
	"github.com/headway-sh/headway/apiserver/authn"
)

// TestLastUseIsTakenOnce lets many machines take the one use of a token at once.
func TestLastUseIsTakenOnce(t *testing.T) {
	server := start(t)
	token, err := apiserver.NewJoinToken(time.Hour)
	check(t, err)
	token.Uses = 1
	check(t, server.Peer(apiserver.Masters).Client().Create(t.Context(), token.Object(time.Now())))
	var joined atomic.Int32
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			if server.UseJoinToken(t.Context(), "system:bootstrap:"+token.ID, fmt.Sprintf("n%d", i)) == nil {
				joined.Add(1)
			}
		})
	}
	group.Wait()
	if joined.Load() != 1 {
		t.Errorf("%d machines took the use, want 1", joined.Load())
	}
	if err := server.UseJoinToken(t.Context(), "system:bootstrap:"+token.ID, "late"); !errors.Is(err, authn.ErrUsedUp) {
		t.Errorf("afterwards: %v", err)
	}
	if err := server.UseJoinToken(t.Context(), "system:bootstrap:zzzzzz", "n1"); !errors.Is(err, authn.ErrUsedUp) {
		t.Errorf("revoked: %v", err)
	}
	if err := server.UseJoinToken(t.Context(), "jane", "n1"); err == nil {
		t.Error("a person is taken for a token")
	}
}

// TestRegisteredNodes: only a node that a machine has registered keeps its name
// from others.
func TestRegisteredNodes(t *testing.T) {
	t.Parallel()
	server := start(t)
	c := server.Peer(admin).Client()
	for _, name := range []string{"ahead", "had"} {
		check(t, c.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	}
	had := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "had"}}
	check(t, c.Get(t.Context(), client.ObjectKeyFromObject(had), had))
	had.Status.NodeInfo.MachineID = "m"
	check(t, c.Status().Update(t.Context(), had))
	for name, want := range map[string]bool{"never": false, "ahead": false, "had": true} {
		if got, err := server.NodeRegistered(t.Context(), name); err != nil || got != want {
			t.Errorf("%s: %v %v, want %v", name, got, err, want)
		}
	}
}
