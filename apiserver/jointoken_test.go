package apiserver_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
