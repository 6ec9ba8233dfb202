package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/apiserver/store"
	"github.com/headway-sh/headway/apiserver/store/memkv"
	"github.com/headway-sh/headway/apiserver/store/storetest"
)

func onEtcd(b *testing.B) *store.Store {
	return storetest.Start(b, store.NewEtcd(member(b, b.TempDir()).Client()))
}

// fill writes n pods in batches.
func fill(b *testing.B, s *store.Store, prefix string, n int) {
	b.Helper()
	for done := 0; done < n; done += 1000 {
		if _, err := s.Txn(b.Context(), store.Txn{Writes: batch(prefix+strconv.Itoa(done), min(1000, n-done))}); err != nil {
			b.Fatal(err)
		}
	}
}

func batch(prefix string, n int) []store.Write {
	writes := make([]store.Write, n)
	for i := range writes {
		writes[i] = storetest.Put(pod(prefix+"-"+strconv.Itoa(i)), 0)
	}
	return writes
}

// pod is about as large as real ones are.
func pod(name string) *corev1.Pod {
	p := storetest.Pod("default", name, "node-1")
	p.Labels = map[string]string{"app": "web", "tier": "front", "pod-template-hash": "abc"}
	for i := range 2 {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: fmt.Sprint("c", i), Image: "registry.example/web:v1", Command: []string{"/web", "--port=8080"},
			Env: []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}}})
	}
	return p
}

func BenchmarkCreate(b *testing.B) {
	s := onEtcd(b)
	for i := 0; b.Loop(); i++ {
		if _, err := s.Txn(b.Context(), store.Txn{Writes: []store.Write{storetest.Put(pod(strconv.Itoa(i)), 0)}}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCreateParallel(b *testing.B) {
	s := onEtcd(b)
	var mu sync.Mutex // guards next
	next := 0
	b.SetParallelism(32)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			mu.Lock()
			next++
			name := strconv.Itoa(next)
			mu.Unlock()
			if _, err := s.Txn(b.Context(), store.Txn{Writes: []store.Write{storetest.Put(pod(name), 0)}}); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkTxn1000(b *testing.B) {
	s := onEtcd(b)
	for i := 0; b.Loop(); i++ {
		if _, err := s.Txn(b.Context(), store.Txn{Writes: batch(strconv.Itoa(i), 1000)}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCurrent(b *testing.B) {
	s := onEtcd(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Current(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkList10000(b *testing.B) {
	s := storetest.Start(b, memkv.New())
	fill(b, s, "p", 10_000)
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for range s.Snapshot().Entries(storetest.Pods, "") {
			n++
		}
		if n != 10_000 {
			b.Fatal(n)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	s := storetest.Start(b, memkv.New())
	fill(b, s, "p", 10_000)
	ref := storetest.Put(pod("p5000-77"), 0).Ref
	b.ReportAllocs()
	for b.Loop() {
		if s.Snapshot().Entry(ref) == nil {
			b.Fatal("not found")
		}
	}
}

// One change reaches 1,000 watchers.
func BenchmarkFanOut1000(b *testing.B) {
	s := storetest.Start(b, memkv.New())
	ctx, cancel := context.WithCancel(b.Context())
	var wg, got sync.WaitGroup
	for range 1000 {
		w, err := s.Watch(ctx, store.WatchOptions{Resource: storetest.ConfigMaps})
		if err != nil {
			b.Fatal(err)
		}
		wg.Go(func() {
			defer w.Close()
			for {
				d, err := w.Next(ctx)
				if err != nil {
					return
				}
				for range d.Events {
					got.Done()
				}
			}
		})
	}
	revision := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		got.Add(1000)
		revision = put(b, s, "x", "v", revision).Revision
		got.Wait()
	}
	cancel()
	wg.Wait()
}

// One change concerns one of 1,000 watchers: the others are not woken.
func BenchmarkFanOutIndexed(b *testing.B) {
	s := storetest.Start(b, memkv.New())
	var watchers []*store.Watcher
	for i := range 1000 {
		w, err := s.Watch(b.Context(), store.WatchOptions{Resource: storetest.Pods, Index: "spec.nodeName", IndexValue: "node-" + strconv.Itoa(i)})
		if err != nil {
			b.Fatal(err)
		}
		defer w.Close()
		watchers = append(watchers, w)
	}
	expect := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		done, err := s.Txn(b.Context(), store.Txn{Writes: []store.Write{storetest.Put(pod("x"), expect)}})
		if err != nil {
			b.Fatal(err)
		}
		expect = done.Revision
		if _, err := watchers[1].Next(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// Open reads 10,000 pods back.
func BenchmarkOpen10000(b *testing.B) {
	m := member(b, filepath.Join(b.TempDir(), "m"))
	fill(b, storetest.Start(b, store.NewEtcd(m.Client())), "p", 10_000)
	for b.Loop() {
		if _, err := store.Open(b.Context(), store.Config{Backend: store.NewEtcd(m.Client()), Resources: storetest.Declare(), Logger: slog.New(slog.DiscardHandler)}); err != nil {
			b.Fatal(err)
		}
	}
}
