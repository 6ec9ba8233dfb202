package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/apiserver/encryption"
	"github.com/headway-sh/headway/apiserver/store"
)

// EncryptionPath is where encryption at rest is looked at (GET) and, below it,
// changed (POST rotate, reencrypt).
const EncryptionPath = "/headway/v1/encryption"

// keyfile is the server's own encryption configuration, beside the authorities:
// who copies them to another server copies it too.
const keyfile = "encryption.yaml"

// rewritten is how many objects are rewritten at once, and passes how often the
// storage is gone through for those that others wrote meanwhile.
const (
	rewritten = 64
	passes    = 16
)

// EncryptionStatus is how values are stored now.
type EncryptionStatus struct {
	// File is the configuration in force; Own: the server made it itself and
	// rotates it.
	File string `json:"file"`
	Own  bool   `json:"own"`
	// Rotating says that a rotation has begun and is not finished.
	Rotating bool `json:"rotating"`
	// Resources are those that are sealed, or have sealed values.
	Resources []EncryptedResource `json:"resources"`
}

// EncryptedResource is one resource's part of an EncryptionStatus.
type EncryptedResource struct {
	Resource string `json:"resource"`
	// Key is what values are sealed by when they are written: provider/key.
	Key string `json:"key"`
	// Stored counts what is stored by provider and key.
	Stored map[string]int `json:"stored"`
}

// sealing is encryption at rest as the server runs it.
type sealing struct {
	ring *encryption.Ring
	path string // of the configuration in force
	own  *encryption.Keyfile
	mu   sync.Mutex // held while everything is rewritten
}

// openSealing reads the configuration that was given, or the server's own.
func openSealing(c *Config) (*sealing, error) {
	own := encryption.Keyfile{Path: filepath.Join(c.DataDir, "pki", keyfile)}
	if c.EncryptionConfig == "" {
		text, err := own.Load(c.Clock.Now())
		if err != nil {
			return nil, fmt.Errorf("encryption at rest: %w", err)
		}
		ring, err := encryption.NewRing(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", own.Path, err)
		}
		return &sealing{ring: ring, path: own.Path, own: &own}, nil
	}
	text, err := os.ReadFile(c.EncryptionConfig)
	if err != nil {
		return nil, fmt.Errorf("encryption at rest: %w", err)
	}
	ring, err := encryption.NewRing(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.EncryptionConfig, err)
	}
	// What the server's own key has sealed can still be read, and is sealed by
	// the new ones when it is next written.
	if before, err := os.ReadFile(own.Path); err == nil {
		if err := ring.AlsoOpen(before); err != nil {
			return nil, fmt.Errorf("%s: %w", own.Path, err)
		}
	}
	return &sealing{ring: ring, path: c.EncryptionConfig}, nil
}

// check refuses to serve a storage whose keys are elsewhere: whoever went on
// would hide objects, and seal new ones by a key that other servers lack.
func (s *sealing) check(snapshot *store.Snapshot) error {
	var unknown *encryption.UnknownKeyError
	for c := range snapshot.Corrupt() {
		if errors.As(c.Err, &unknown) {
			return fmt.Errorf("the storage has values that are sealed by %s, a key that %s does not have: bring it from the server that made it, or from a backup", unknown.Key, s.path)
		}
	}
	return nil
}

// finishRotation goes on with what a crash interrupted.
func (s *Server) finishRotation(ctx context.Context) {
	if s.sealing.own == nil {
		return
	}
	rotating, err := s.sealing.own.Rotating()
	if err == nil && rotating && s.Alone() {
		err = s.RotateEncryption(ctx)
	}
	if err != nil && ctx.Err() == nil {
		s.config.Logger.Error("the encryption key's rotation could not be finished", "error", err)
	}
}

// RotateEncryption makes a new key, rewrites everything that another one seals,
// and drops the others. Called again after a failure or a crash it goes on.
func (s *Server) RotateEncryption(ctx context.Context) error {
	own := s.sealing.own
	switch {
	case own == nil:
		return fmt.Errorf("the keys are in %s, which is not the server's own: put a new key first there, reencrypt, and take the old key out", s.sealing.path)
	case !s.Alone():
		return errors.New("with several servers every one needs a new key before the first uses it: give all of them the same --encryption-provider-config, put the new key second, then first, reencrypt, and take the old key out")
	}
	s.sealing.mu.Lock()
	defer s.sealing.mu.Unlock()
	ring := s.sealing.ring
	if _, err := ring.Change(func() ([]byte, error) { return own.Begin(s.config.Clock.Now()) }); err != nil {
		return err
	}
	if err := s.rewriteStale(ctx); err != nil {
		return err
	}
	// Former values under the old key could not be read any more.
	if err := s.store.Forget(ctx); err != nil {
		return err
	}
	_, err := ring.Change(own.Finish)
	return err
}

// Reencrypt rewrites everything that is not sealed as the configuration says.
func (s *Server) Reencrypt(ctx context.Context) error {
	s.sealing.mu.Lock()
	defer s.sealing.mu.Unlock()
	return s.rewriteStale(ctx)
}

func (s *Server) rewriteStale(ctx context.Context) error {
	// What was sealed before the configuration changed may still be on its way.
	if err := s.store.Settle(ctx); err != nil {
		return err
	}
	for _, resource := range s.store.Resources() {
		if err := s.rewriteResource(ctx, resource); err != nil {
			return fmt.Errorf("rewrite %s: %w", resource, err)
		}
	}
	return nil
}

// rewriteResource goes through a resource until nothing is stale. What somebody
// else writes meanwhile is sealed by the new key anyway.
func (s *Server) rewriteResource(ctx context.Context, resource schema.GroupResource) error {
	stale := 0
	for range passes {
		var refs []store.Value
		err := s.store.Values(ctx, resource, func(v store.Value) error {
			if s.sealing.ring.Stale(resource, v.Stored) {
				refs = append(refs, store.Value{Ref: v.Ref, Revision: v.Revision})
			}
			return nil
		})
		if stale = len(refs); err != nil || stale == 0 {
			return err
		}
		for part := range slices.Chunk(refs, rewritten) {
			if err := s.rewrite(ctx, part); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("%d objects can neither be read nor rewritten", stale)
}

// rewrite stores objects as they are. Those that have changed are left for the
// next pass.
func (s *Server) rewrite(ctx context.Context, values []store.Value) error {
	newest := slices.MaxFunc(values, func(a, b store.Value) int { return int(a.Revision - b.Revision) })
	if err := s.store.WaitFor(ctx, newest.Revision); err != nil {
		return err
	}
	snapshot := s.store.Snapshot()
	t := store.Txn{Independent: true}
	for _, v := range values {
		if e := snapshot.Entry(v.Ref); e != nil && e.Revision == v.Revision {
			t.Writes = append(t.Writes, store.Write{Ref: v.Ref, Object: e.Object, Expect: v.Revision})
		}
	}
	if len(t.Writes) == 0 {
		return nil
	}
	_, err := s.store.Txn(ctx, t)
	return err
}

// EncryptionStatus tells how values are stored now.
func (s *Server) EncryptionStatus(ctx context.Context) (EncryptionStatus, error) {
	status := EncryptionStatus{File: s.sealing.path, Own: s.sealing.own != nil}
	if own := s.sealing.own; own != nil {
		var err error
		if status.Rotating, err = own.Rotating(); err != nil {
			return status, err
		}
	}
	for _, resource := range s.store.Resources() {
		one := EncryptedResource{Resource: resource.String(), Key: s.sealing.ring.Current(resource), Stored: map[string]int{}}
		sealed := s.sealing.ring.Seals(resource)
		err := s.store.Values(ctx, resource, func(v store.Value) error {
			name := encryption.Named(v.Stored)
			one.Stored[name]++
			sealed = sealed || name != "identity"
			return nil
		})
		if err != nil {
			return status, err
		}
		if sealed {
			status.Resources = append(status.Resources, one)
		}
	}
	return status, nil
}

// serveEncryption answers below EncryptionPath; who asks has been authorized.
func (s *Server) serveEncryption(w http.ResponseWriter, r *http.Request) {
	var err error
	switch action := r.Method + " " + r.URL.Path; action {
	case "GET " + EncryptionPath + "/":
	case "POST " + EncryptionPath + "/rotate":
		err = s.RotateEncryption(r.Context())
	case "POST " + EncryptionPath + "/reencrypt":
		err = s.Reencrypt(r.Context())
	default:
		http.NotFound(w, r)
		return
	}
	var status EncryptionStatus
	if err == nil {
		status, err = s.EncryptionStatus(r.Context())
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(status) // an error means that the client is gone
}
