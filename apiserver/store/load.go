package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
)

// pageSize is how many keys one range read asks for.
const pageSize = 2000

// contents is what was read at one revision.
type contents struct {
	revision int64
	newest   int  // objects that were modified at the revision
	marked   bool // the marker was
	tables   []*table
	epochs   map[string]epoch
}

// load reads everything and publishes it. A batch at the newest revision whose
// marker is missing is marked first: no snapshot shows a batch's revision.
func (s *Store) load(ctx context.Context, c *catalog) error {
	for {
		have, err := s.read(ctx, c)
		if err != nil {
			return err
		}
		// No object with the newest revision may mean that a batch of removals
		// made it; on a backend that was never written to there is no batch.
		if have.newest == 1 || have.marked || have.revision == 1 {
			s.loop = loop{revision: have.revision, catalog: c, tables: have.tables, epochs: have.epochs, dirty: make([]bool, len(c.resources))}
			s.restart()
			return nil
		}
		if _, err := s.mark(ctx, have.revision); err != nil {
			return fmt.Errorf("mark the newest revision: %w", err)
		}
	}
}

// read reads the whole range at one revision.
func (s *Store) read(ctx context.Context, c *catalog) (*contents, error) {
	have := &contents{tables: make([]*table, len(c.resources)), epochs: map[string]epoch{}}
	err := s.pages(ctx, rangeStart, rangeEnd, 0, func(revision int64, items []KeyValue) {
		if have.revision == 0 {
			have.revision = revision
			for n, r := range c.resources {
				if r != nil {
					have.tables[n] = newTable(r, revision)
				}
			}
		}
		changes := make([]Change, len(items))
		for i, kv := range items {
			changes[i] = Change{Key: kv.Key, Value: kv.Value, Revision: kv.Revision}
		}
		for _, d := range decodeAll(c, changes) {
			have.add(s, d)
		}
	})
	return have, err
}

func (have *contents) add(s *Store, d decoded) {
	switch {
	case strings.HasPrefix(d.Key, registryPrefix):
		if d.Revision == have.revision {
			have.newest++
		}
		if d.number >= 0 {
			s.store(have.tables[d.number], d)
		}
	case d.Key == markerKey:
		have.marked = d.Revision == have.revision
	case strings.HasPrefix(d.Key, epochsPrefix):
		have.epochs[d.Key[len(epochsPrefix):]] = parseEpoch(d.Change)
	}
}

// pages calls f with each page of a range, all at one revision: the given one,
// or the newest when it is 0. f is called at least once.
func (s *Store) pages(ctx context.Context, start, end string, revision int64, f func(revision int64, items []KeyValue)) error {
	for {
		page, err := s.backend.Range(ctx, start, end, revision, pageSize)
		if err != nil {
			return fmt.Errorf("read %s: %w", start, err)
		}
		if revision == 0 {
			revision = page.Revision
		}
		f(revision, page.Items)
		if !page.More || len(page.Items) == 0 {
			return nil
		}
		start = page.Items[len(page.Items)-1].Key + "\x00"
	}
}

// decoded is a change with what its value says.
type decoded struct {
	Change
	number int // the resource's; -1: none of ours
	entry  *Entry
	err    error
}

// decodeAll decodes the values of changes, several at once when there are many.
func decodeAll(c *catalog, changes []Change) []decoded {
	out := make([]decoded, len(changes))
	workers := min(runtime.GOMAXPROCS(0), len(changes)/64)
	if workers <= 1 {
		for i := range changes {
			out[i] = decode(c, changes[i])
		}
		return out
	}
	var wg sync.WaitGroup
	part := (len(changes) + workers - 1) / workers
	for from := 0; from < len(changes); from += part {
		wg.Go(func() {
			for i := from; i < min(from+part, len(changes)); i++ {
				out[i] = decode(c, changes[i])
			}
		})
	}
	wg.Wait()
	return out
}

func decode(c *catalog, change Change) decoded {
	d := decoded{Change: change, number: -1}
	if !strings.HasPrefix(change.Key, registryPrefix) {
		return d
	}
	n, ok := c.of(change.Key)
	if !ok {
		return d
	}
	r := c.resources[n]
	ref, ok := r.ref(change.Key)
	if !ok {
		return d
	}
	d.number = n
	d.entry = &Entry{Ref: ref, Revision: change.Revision}
	if change.Deleted {
		return d
	}
	o, err := c.decode(r, change.Key, change.Value)
	switch {
	case err != nil:
		d.err = err
	case o == nil:
		d.err = errors.New("the decoder returned no object")
	case o.GetName() != ref.Name || o.GetNamespace() != ref.Namespace:
		d.err = fmt.Errorf("the value is of %q in namespace %q", o.GetName(), o.GetNamespace())
	default:
		o.SetResourceVersion(strconv.FormatInt(change.Revision, 10))
		d.entry.Object = o
		d.entry.seal()
	}
	return d
}
