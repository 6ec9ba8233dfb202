package events_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/api/txn/txntest"
	"github.com/headway-sh/headway/internal/events"
	"github.com/headway-sh/headway/internal/fakecluster"
)

var web = &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "u1"}}

// held lets the first commit begin when it is told to: what is recorded
// meanwhile waits.
type held struct {
	txn.Interface
	begun, proceed chan struct{}
}

func (h held) Commit(ctx context.Context, r *txn.Result, o txn.CommitOptions) (*txn.Committed, error) {
	h.begun <- struct{}{}
	<-h.proceed
	return h.Interface.Commit(ctx, r, o)
}

// counts are the reasons of the Events in a View, with their counts.
func counts(t *testing.T, db txn.Interface) map[string]int32 {
	t.Helper()
	view, err := db.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]int32{}
	for o := range view.Each(schema.GroupResource{Resource: "events"}, "default") {
		e := o.(*corev1.Event)
		all[e.Reason] += e.Count
	}
	return all
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.After(20 * time.Second); !ok(); {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal(what)
		}
	}
}

// TestWhatWaitsIsWrittenTogether: new events and further counts of old ones.
func TestWhatWaitsIsWrittenTogether(t *testing.T) {
	t.Parallel()
	store := txntest.New(clock.RealClock{})
	db := held{store, make(chan struct{}, 9), make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	single := fakecluster.New(clock.RealClock{})
	recorder, stop := events.New(ctx, "tester", single, db, clock.RealClock{}, slog.New(slog.DiscardHandler))
	defer func() { cancel(); stop() }()
	for range 4 { // the first may be written alone
		recorder.Event(web, corev1.EventTypeNormal, "Pulled", "image")
		recorder.Event(web, corev1.EventTypeWarning, "Failed", "again")
	}
	<-db.begun
	recorder.Event(web, corev1.EventTypeNormal, "Started", "one")
	recorder.Event(web, corev1.EventTypeNormal, "Killing", "two")
	close(db.proceed)
	until(t, "not all are written", func() bool {
		var one corev1.EventList
		if err := single.List(ctx, &one); err != nil {
			t.Fatal(err)
		}
		all := counts(t, store)
		for i := range one.Items {
			all[one.Items[i].Reason] += one.Items[i].Count
		}
		return all["Pulled"] == 4 && all["Failed"] == 4 && all["Started"] == 1 && all["Killing"] == 1
	})
	if n := store.Commits(); n == 0 || n > 5 {
		t.Errorf("%d commits", n)
	}
}

// TestWithoutTransactions: they are written one by one when that is all there
// is, and when transactions fail.
func TestWithoutTransactions(t *testing.T) {
	t.Parallel()
	for name, db := range map[string]txn.Interface{"none": nil, "broken": broken{}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			single := fakecluster.New(clock.RealClock{})
			ctx, cancel := context.WithCancel(t.Context())
			recorder, stop := events.New(ctx, "tester", single, db, clock.RealClock{}, slog.New(slog.DiscardHandler))
			defer func() { cancel(); stop() }()
			for range 5 {
				recorder.Event(web, corev1.EventTypeNormal, "Pulled", "image")
			}
			until(t, "not written", func() bool {
				var list corev1.EventList
				if err := single.List(ctx, &list, client.InNamespace("default")); err != nil {
					t.Fatal(err)
				}
				return len(list.Items) == 1 && list.Items[0].Count == 5
			})
		})
	}
}

type broken struct{ txn.Interface }

func (broken) View(context.Context) (txn.View, error) { return nil, errors.New("no view") }
