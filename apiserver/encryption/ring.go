package encryption

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage/value"
)

var errNoKey = errors.New("no key of the encryption configuration opens the value")

// UnknownKeyError says that a value is sealed by a key that no configuration
// in force has.
type UnknownKeyError struct {
	// Key is the provider and the key's name, as Named gives them.
	Key string
}

func (e *UnknownKeyError) Error() string {
	return fmt.Sprintf("the value is sealed by %s, which the encryption configuration does not have", e.Key)
}

// Ring seals and opens by the configuration in force. It is safe for
// concurrent use.
type Ring struct {
	now atomic.Pointer[rules]
	// older opens what now cannot; nil: nothing does.
	older atomic.Pointer[rules]

	changing sync.Mutex // held from reading or writing a file until it is in force

	mu    sync.Mutex // guards replacing found
	found atomic.Pointer[lookups]
}

// lookups remembers which list a resource has by the rules.
type lookups struct {
	rules *rules
	lists map[schema.GroupResource]*list
}

// NewRing makes a Ring of an EncryptionConfiguration.
func NewRing(text []byte) (*Ring, error) {
	r := &Ring{}
	if _, err := r.use(text); err != nil {
		return nil, err
	}
	return r, nil
}

// Change puts what read or write of a file gives into force. A bad
// configuration changes nothing; the answer is false when it is the one in
// force already. Changes never overtake each other.
func (r *Ring) Change(file func() ([]byte, error)) (changed bool, err error) {
	r.changing.Lock()
	defer r.changing.Unlock()
	text, err := file()
	if err != nil {
		return false, err
	}
	return r.use(text)
}

func (r *Ring) use(text []byte) (changed bool, err error) {
	if now := r.now.Load(); now != nil && bytes.Equal(now.text, text) {
		return false, nil
	}
	next, err := parse(text)
	if err != nil {
		return false, fmt.Errorf("encryption configuration: %w", err)
	}
	r.now.Store(next)
	return true, nil
}

// AlsoOpen names a configuration whose keys open what those in force cannot:
// the one that was in force before somebody took the keys into their own hands.
func (r *Ring) AlsoOpen(text []byte) error {
	older, err := parse(text)
	if err != nil {
		return fmt.Errorf("older encryption configuration: %w", err)
	}
	r.older.Store(older)
	return nil
}

// list is what the rules say about a resource, remembered.
func (r *Ring) list(resource schema.GroupResource) *list {
	now := r.now.Load()
	known := r.found.Load()
	if known != nil && known.rules == now {
		if l, ok := known.lists[resource]; ok {
			return l
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	next := &lookups{rules: now, lists: map[schema.GroupResource]*list{}}
	if known = r.found.Load(); known != nil && known.rules == now {
		for k, v := range known.lists {
			next.lists[k] = v
		}
	}
	next.lists[resource] = now.of(resource)
	r.found.Store(next)
	return next.lists[resource]
}

// Seal makes of a plain value what is stored under the key.
func (r *Ring) Seal(resource schema.GroupResource, key string, plain []byte) ([]byte, error) {
	l := r.list(resource)
	if l == nil {
		return plain, nil
	}
	// Nothing of the library waits or asks who is behind the context.
	return l.opener.TransformToStorage(context.Background(), plain, value.DefaultContext(key))
}

// Open gives the plain value of what is stored under the key.
func (r *Ring) Open(resource schema.GroupResource, key string, stored []byte) ([]byte, error) {
	l := r.list(resource)
	if !bytes.HasPrefix(stored, sealedPrefix) && (l == nil || len(l.current()) == 0) {
		return stored, nil
	}
	plain, err := l.open(key, stored)
	if older := r.older.Load(); err != nil && older != nil {
		if plain, err := older.of(resource).open(key, stored); err == nil {
			return plain, nil
		}
	}
	if err != nil && !r.knows(resource, stored) {
		return nil, &UnknownKeyError{Key: Named(stored)}
	}
	return plain, err
}

// knows tells whether a configuration has the key that a value names.
func (r *Ring) knows(resource schema.GroupResource, stored []byte) bool {
	for _, rules := range []*rules{r.now.Load(), r.older.Load()} {
		if rules == nil {
			continue
		}
		if l := rules.of(resource); l != nil && slices.ContainsFunc(l.providers, func(p value.PrefixTransformer) bool {
			return len(p.Prefix) > 0 && bytes.HasPrefix(stored, p.Prefix)
		}) {
			return true
		}
	}
	return false
}

func (l *list) open(key string, stored []byte) ([]byte, error) {
	if l == nil {
		return nil, errNoKey
	}
	plain, _, err := l.opener.TransformFromStorage(context.Background(), stored, value.DefaultContext(key))
	return plain, err
}

// Stale tells whether a stored value would be sealed differently now: with
// another key, or not at all.
func (r *Ring) Stale(resource schema.GroupResource, stored []byte) bool {
	current := r.list(resource).current()
	if len(current) == 0 {
		return bytes.HasPrefix(stored, sealedPrefix)
	}
	return !bytes.HasPrefix(stored, current)
}

// Seals tells whether values of the resource are sealed when they are written.
func (r *Ring) Seals(resource schema.GroupResource) bool { return len(r.list(resource).current()) > 0 }

// Named says by which provider and key a stored value is sealed, as
// "secretbox/key1"; "identity" for plain ones.
func Named(stored []byte) string {
	if !bytes.HasPrefix(stored, sealedPrefix) {
		return "identity"
	}
	parts := bytes.SplitN(stored[len(sealedPrefix):], []byte(":"), 4)
	if len(parts) < 4 {
		return "unknown"
	}
	return string(parts[0]) + "/" + string(parts[2])
}

// Current says by which provider and key values of the resource are sealed.
func (r *Ring) Current(resource schema.GroupResource) string {
	return Named(append(bytes.Clone(r.list(resource).current()), ':'))
}
