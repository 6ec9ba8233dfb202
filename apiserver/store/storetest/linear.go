package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/store"
)

const linearKeys = 3

// call is one operation of a client: a consistent read of all keys, or a
// transaction that writes one value under some keys.
type call struct {
	read   bool
	keys   []int
	expect [linearKeys]int64
	value  string
}

// answer is what came back: the state read, or whether the transaction won.
type answer struct {
	values [linearKeys]string
	won    bool
}

// state has every key's value. Values are unique, so that comparing the value a
// client had seen is comparing revisions.
type linearState [linearKeys]string

// model is a store of a few keys with compare-and-swap on several at once.
func model(seen func(call, int) string) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return linearState{} },
		Step: func(s, in, out any) (bool, any) {
			state, c, a := s.(linearState), in.(call), out.(answer)
			if c.read {
				return state == linearState(a.values), state
			}
			holds := true
			for _, k := range c.keys {
				holds = holds && state[k] == seen(c, k)
			}
			if holds != a.won {
				return false, state
			}
			if a.won {
				for _, k := range c.keys {
					state[k] = c.value
				}
			}
			return true, state
		},
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v → %+v", in, out) },
	}
}

// testLinearizable runs clients on two stores and lets porcupine find an order
// of their operations.
func testLinearizable(t *testing.T, backend store.Backend) {
	CheckLinearizable(t, []*store.Store{Start(t, backend), Start(t, backend)}, 4, 40)
}

// CheckLinearizable runs clients that read and write a few keys through the
// stores, and fails unless their answers can be explained by one order.
func CheckLinearizable(t *testing.T, stores []*store.Store, clients, calls int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var mu sync.Mutex // guards operations and written
	var operations []porcupine.Operation
	written := map[int64]string{0: ""} // the value of a revision
	began := time.Now()
	var wg sync.WaitGroup
	for id := range clients {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(id), 3))
			s := stores[id%len(stores)]
			for n := range calls {
				c := call{read: random.IntN(2) == 0, value: fmt.Sprintf("%d-%d", id, n)}
				start := time.Since(began).Nanoseconds()
				a, revision, err := c.do(ctx, s, random)
				end := time.Since(began).Nanoseconds()
				if err != nil {
					t.Errorf("client %d: %v", id, err)
					return
				}
				mu.Lock()
				if a.won {
					written[revision] = c.value
				}
				operations = append(operations, porcupine.Operation{ClientId: id, Input: c, Call: start, Output: a, Return: end})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	seen := func(c call, k int) string { return written[c.expect[k]] }
	if result := porcupine.CheckOperationsTimeout(model(seen), operations, 20*time.Second); result != porcupine.Ok {
		t.Errorf("the answers of %d operations have no order: %s", len(operations), result)
	}
}

func linearRef(k int) txn.Ref { return mapRef("linear", fmt.Sprint(k)) }

// do performs the call. A transaction writes on the store's own snapshot, which
// may be behind: then it must lose.
func (c *call) do(ctx context.Context, s *store.Store, random *rand.Rand) (answer, int64, error) {
	var a answer
	if c.read {
		now, err := s.Current(ctx)
		if err != nil {
			return a, 0, err
		}
		for k := range linearKeys {
			if o, ok := now.Get(linearRef(k)); ok {
				a.values[k] = o.(*corev1.ConfigMap).Data["v"]
			}
		}
		return a, 0, nil
	}
	now := s.Snapshot()
	var tx store.Txn
	for k := range linearKeys {
		if random.IntN(2) == 0 && (k < linearKeys-1 || len(c.keys) > 0) {
			continue
		}
		c.keys = append(c.keys, k)
		if e := now.Entry(linearRef(k)); e != nil {
			c.expect[k] = e.Revision
		}
		o := ConfigMap("linear", fmt.Sprint(k), strings.Clone(c.value))
		tx.Writes = append(tx.Writes, Put(o, c.expect[k]))
	}
	done, err := s.Txn(ctx, tx)
	if txn.IsConflict(err) {
		return a, 0, nil
	}
	if err != nil {
		return a, 0, err
	}
	a.won = true
	return a, done.Revision, nil
}
