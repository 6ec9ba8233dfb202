package apiserver_test

import (
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/api/txn/txntest"
)

var (
	admin      = txn.Identity{Name: "admin", Groups: []string{"system:masters"}}
	configMaps = schema.GroupResource{Resource: "configmaps"}
	namespaces = schema.GroupResource{Resource: "namespaces"}
	secrets    = schema.GroupResource{Resource: "secrets"}
)

// TestContractInProcess: the transaction contract holds in process, on the
// real store, write path and etcd.
func TestContractInProcess(t *testing.T) {
	txntest.Run(t, func(t *testing.T) txn.Interface { return start(t).Peer(admin).Txn() })
}

// TestContractOverHTTPS: and for whoever comes over the network.
func TestContractOverHTTPS(t *testing.T) {
	txntest.Run(t, func(t *testing.T) txn.Interface {
		server := start(t)
		return begun{overHTTPS(t, server, admin.Name, admin.Groups, configMaps, namespaces), server.Peer(admin).Txn()}
	})
}

// TestContractIsNoBackDoor: who has no role reaches no transaction over the
// network, and who may only plan cannot read what it may not list.
func TestContractIsNoBackDoor(t *testing.T) {
	server := start(t)
	stranger := overHTTPS(t, server, "mallory", nil, configMaps)
	if _, err := stranger.View(t.Context()); !apierrors.IsForbidden(err) {
		t.Errorf("a stranger's view: %v, want it forbidden", err)
	}
	if _, err := stranger.Notes(t.Context(), ""); !apierrors.IsForbidden(err) {
		t.Errorf("a stranger reads notes: %v, want it forbidden", err)
	}
	if _, err := stranger.Acquire(t.Context(), "gitsource"); !apierrors.IsForbidden(err) {
		t.Errorf("a stranger ends an epoch: %v, want it forbidden", err)
	}
	bindRole(t, server, "planner", "headway:transaction-planner")
	bindRole(t, server, "planner", "view")
	planner := overHTTPS(t, server, "planner", nil, configMaps)
	if _, err := planner.View(t.Context()); err != nil {
		t.Errorf("a planner's view: %v", err)
	}
	if _, err := overHTTPS(t, server, "planner", nil, secrets).View(t.Context()); !apierrors.IsForbidden(err) {
		t.Errorf("a planner's view of Secrets: %v, want it forbidden", err)
	}
	if _, err := planner.Notes(t.Context(), ""); !apierrors.IsForbidden(err) {
		t.Errorf("a planner reads notes: %v, want it forbidden", err)
	}
}
