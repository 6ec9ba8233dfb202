package bulk_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/api/txn/txntest"
	"github.com/headway-sh/headway/internal/bulk"
	"github.com/headway-sh/headway/internal/fakecluster"
)

// single is a client that counts what is created one by one.
type single struct {
	client.WithWatch
	made chan string
}

func (c single) Create(ctx context.Context, o client.Object, options ...client.CreateOption) error {
	c.made <- o.GetName()
	return c.WithWatch.Create(ctx, o, options...)
}

func writer(t *testing.T) (bulk.Writer, *txntest.Store, single) {
	t.Helper()
	db, one := txntest.New(clock.RealClock{}), single{fakecluster.New(clock.RealClock{}), make(chan string, 100)}
	return bulk.Writer{Client: one, DB: db}, db, one
}

func maps(n, size int) (all []client.Object) {
	for i := range n {
		data := map[string]string{"v": strings.Repeat("x", size)}
		all = append(all, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("m", i)}, Data: data})
	}
	return all
}

// outcome is by index what was made, or why not.
func outcome(made []client.Object, errs []error) (all []string) {
	for i, o := range made {
		switch {
		case (o == nil) == (errs[i] == nil):
			all = append(all, "both or none")
		case o == nil:
			all = append(all, string(apierrors.ReasonForError(errs[i])))
		default:
			all = append(all, o.GetName())
		}
	}
	return all
}

func TestTogether(t *testing.T) {
	t.Parallel()
	w, db, _ := writer(t)
	objects := maps(5, 1)
	made, errs := w.Create(t.Context(), objects)
	if diff := cmp.Diff([]string{"m0", "m1", "m2", "m3", "m4"}, outcome(made, errs)); diff != "" {
		t.Errorf("made (-want +got):\n%s", diff)
	}
	if db.Commits() != 1 || made[0].GetResourceVersion() == "" || objects[0].GetResourceVersion() != "" {
		t.Errorf("%d commits; stored version %q, mine %q", db.Commits(), made[0].GetResourceVersion(), objects[0].GetResourceVersion())
	}
}

// TestThoseThatAreRefused do not keep the others from being made.
func TestThoseThatAreRefused(t *testing.T) {
	t.Parallel()
	w, db, one := writer(t)
	db.Reject(func(_ txn.Identity, c txn.Change) error {
		if c.Ref.Name == "m1" || c.Ref.Name == "m3" {
			return apierrors.NewForbidden(corev1.Resource("configmaps"), c.Ref.Name, errors.New("exceeded quota"))
		}
		return nil
	})
	made, errs := w.Create(t.Context(), maps(5, 1))
	if diff := cmp.Diff([]string{"m0", "Forbidden", "m2", "Forbidden", "m4"}, outcome(made, errs)); diff != "" {
		t.Errorf("made (-want +got):\n%s", diff)
	}
	if db.Commits() != 1 || len(one.made) != 0 {
		t.Errorf("%d commits, %d one by one", db.Commits(), len(one.made))
	}
}

// TestRacesThatAreLost each time end in single creations.
func TestRacesThatAreLost(t *testing.T) {
	t.Parallel()
	w, db, one := writer(t)
	db.ConflictNext(txn.Rounds)
	made, errs := w.Create(t.Context(), maps(3, 1))
	if diff := cmp.Diff([]string{"m0", "m1", "m2"}, outcome(made, errs)); diff != "" || len(one.made) != 3 {
		t.Errorf("%d one by one; made (-want +got):\n%s", len(one.made), diff)
	}
}

// TestNobodyKnows: what may have been written is not written once more.
func TestNobodyKnows(t *testing.T) {
	t.Parallel()
	w, _, one := writer(t)
	w.DB = silent{w.DB}
	_, errs := w.Create(t.Context(), maps(2, 1))
	if !errors.Is(errs[0], context.DeadlineExceeded) || !errors.Is(errs[1], context.DeadlineExceeded) || len(one.made) != 0 {
		t.Errorf("%d one by one; %v", len(one.made), errs)
	}
}

type silent struct{ txn.Interface }

func (silent) Commit(context.Context, *txn.Result, txn.CommitOptions) (*txn.Committed, error) {
	return nil, context.DeadlineExceeded
}

func TestHeavyOnes(t *testing.T) {
	t.Parallel()
	w, db, _ := writer(t)
	made, errs := w.Create(t.Context(), maps(8, 1<<20))
	if len(outcome(made, errs)) != 8 || slices.ContainsFunc(errs, func(err error) bool { return err != nil }) || db.Commits() < 2 {
		t.Errorf("%d commits, errors %v", db.Commits(), errs)
	}
}

func TestWithoutTransactions(t *testing.T) {
	t.Parallel()
	w, _, one := writer(t)
	w.DB = nil
	if made, errs := w.Create(t.Context(), maps(3, 1)); errors.Join(errs...) != nil || len(made) != 3 || len(one.made) != 3 {
		t.Errorf("%d one by one, errors %v", len(one.made), errs)
	}
}

func TestSlowStart(t *testing.T) {
	t.Parallel()
	var got [][2]int
	do := func(from, to int) []error {
		got = append(got, [2]int{from, to})
		errs := make([]error, to-from)
		if from == 3 {
			errs[1] = errors.New("broken")
		}
		return errs
	}
	err := bulk.SlowStart(20, do)
	if diff := cmp.Diff([][2]int{{0, 1}, {1, 3}, {3, 7}}, got); diff != "" || err == nil {
		t.Errorf("error %v; ranges (-want +got):\n%s", err, diff)
	}
	got = nil
	if err = bulk.SlowStart(2, do); err != nil || len(got) != 2 || got[1] != [2]int{1, 2} {
		t.Errorf("error %v; ranges %v", err, got)
	}
}
