// Package storetest holds what every store must do, whatever it stands on: one
// suite that runs on the in-memory emulator and on real etcd.
package storetest

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/store"
)

// Resources of the suite.
var (
	Pods       = schema.GroupResource{Resource: "pods"}
	ConfigMaps = schema.GroupResource{Resource: "configmaps"}
	Nodes      = schema.GroupResource{Resource: "nodes"}
)

// Declare returns the suite's resources: pods with an index of their nodes,
// config maps, and nodes without a namespace. Values are JSON.
func Declare() []store.Resource {
	return []store.Resource{
		declare[corev1.Pod](Pods, "/registry/pods/", true, map[string]func(txn.Object) []string{
			"spec.nodeName": func(o txn.Object) []string { return []string{o.(*corev1.Pod).Spec.NodeName} },
		}),
		declare[corev1.ConfigMap](ConfigMaps, "/registry/configmaps/", true, nil),
		declare[corev1.Node](Nodes, "/registry/minions/", false, nil),
	}
}

func declare[T any, P interface {
	*T
	txn.Object
}](resource schema.GroupResource, prefix string, namespaced bool, indexes map[string]func(txn.Object) []string) store.Resource {
	return store.Resource{
		Resource: resource, Prefix: prefix, Namespaced: namespaced, Indexes: indexes,
		Encode: func(o txn.Object) ([]byte, error) { return json.Marshal(o) },
		Decode: func(value []byte) (txn.Object, error) {
			o := P(new(T))
			if err := json.Unmarshal(value, o); err != nil {
				return nil, err
			}
			return o, nil
		},
	}
}

// Pod builds a pod on a node.
func Pod(namespace, name, node string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.PodSpec{NodeName: node}}
}

// ConfigMap builds a config map with one value.
func ConfigMap(namespace, name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string]string{"v": value}}
}

func podRef(namespace, name string) txn.Ref {
	return txn.Ref{Resource: Pods, Namespace: namespace, Name: name}
}

func mapRef(namespace, name string) txn.Ref {
	return txn.Ref{Resource: ConfigMaps, Namespace: namespace, Name: name}
}

// Put is a write of an object that expects a revision.
func Put(o txn.Object, expect int64) store.Write {
	resource := ConfigMaps
	switch o.(type) {
	case *corev1.Pod:
		resource = Pods
	case *corev1.Node:
		resource = Nodes
	}
	return store.Write{Ref: txn.Ref{Resource: resource, Namespace: o.GetNamespace(), Name: o.GetName()}, Object: o, Expect: expect}
}

// Start opens a store on the backend and runs it until the test ends.
func Start(t testing.TB, backend store.Backend, change ...func(*store.Config)) *store.Store {
	t.Helper()
	config := store.Config{Backend: backend, Resources: Declare(), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	for _, f := range change {
		f(&config)
	}
	s, err := store.Open(t.Context(), config)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	run(t, s)
	return s
}

// run runs a store until the test ends; the function it returns ends it early.
func run(t testing.TB, s *store.Store) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// write does a transaction that must succeed.
func write(t testing.TB, s *store.Store, writes ...store.Write) *store.Done {
	t.Helper()
	done, err := s.Txn(t.Context(), store.Txn{Writes: writes})
	if err != nil {
		t.Fatalf("write %v: %v", writes[0].Ref, err)
	}
	return done
}

// Run runs the whole suite. new returns an empty backend; it registers its own
// clean-up.
func Run(t *testing.T, new func(t *testing.T) store.Backend) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, backend store.Backend)
	}{
		{"Lifecycle", testLifecycle},
		{"Conflict", testConflict},
		{"Compares", testCompares},
		{"Independent", testIndependent},
		{"Epoch", testEpoch},
		{"Notes", testNotes},
		{"TxnRefusals", testTxnRefusals},
		{"ReadsAreOrdered", testReadsAreOrdered},
		{"Index", testIndex},
		{"Corrupt", testCorrupt},
		{"Reopen", testReopen},
		{"CurrentSeesOtherServers", testCurrent},
		{"CurrentWithForeignKeys", testForeignKeys},
		{"ExactReads", testExactReads},
		{"Upkeep", testUpkeep},
		{"Resources", testResources},
		{"BatchIsWhole", testBatchIsWhole},
		{"BatchOfDeadWriter", testBatchOfDeadWriter},
		{"BatchResume", testBatchResume},
		{"WatchSelections", testWatchSelections},
		{"WatchIndexTransitions", testWatchIndexTransitions},
		{"WatchExpires", testWatchExpires},
		{"WatchQuietPartsStay", testWatchQuietPartsStay},
		{"WatchResumesBeforeTheStart", testWatchResumesBeforeTheStart},
		{"HistoryIsBounded", testHistoryIsBounded},
		{"WatchBookmarks", testWatchBookmarks},
		{"WatchStops", testWatchStops},
		{"WatchGuarantees", testWatchGuarantees},
		{"Linearizable", testLinearizable},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, new(t))
		})
	}
}
