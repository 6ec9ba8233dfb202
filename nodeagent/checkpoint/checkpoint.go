// Package checkpoint keeps a node's pods with their last status on disk, so that
// an agent that starts without the API knows what runs here.
//
//	Dir/<uid>/pod.sealed   version, nonce, AES-256-GCM of the pod in JSON
//	Key                    the node's own key, made at first use, mode 0600
//
// A file is whole or absent after a crash, and is believed only if it was sealed
// with the node's key for the pod that its directory names: one in which a byte
// is another is refused, and so is one that was put there by somebody else.
package checkpoint

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/internal/pki"
)

const (
	sealed = "pod.sealed"
	// plain is what agents wrote before there was a key; it is read once.
	plain   = "pod.json"
	version = 1
	keySize = 32
)

// Store is a directory of checkpoints. It is safe for concurrent use for
// different pods.
type Store struct {
	dir  string
	aead cipher.AEAD
	// fresh says that there was no key before.
	fresh bool
}

// Refused is a checkpoint that is not believed.
type Refused struct {
	Path string
	Err  error
}

func (r *Refused) Error() string {
	return fmt.Sprintf("checkpoint %s is refused: %v; it is written anew when a server tells of the pod, and until then nobody looks after its containers here. "+
		"Where no server will, stop them with \"headway down\", or remove the file", r.Path, r.Err)
}

func (r *Refused) Unwrap() error { return r.Err }

// Open makes the key if there is none.
func Open(dir, key string) (*Store, error) {
	secret, err := os.ReadFile(key)
	fresh := os.IsNotExist(err)
	if fresh {
		secret = make([]byte, keySize)
		if _, err := rand.Read(secret); err != nil {
			return nil, fmt.Errorf("make the key of checkpoints: %w", err)
		}
		err = errors.Join(os.MkdirAll(filepath.Dir(key), 0o755), pki.WriteFile(key, secret, 0o600))
	}
	if err != nil {
		return nil, fmt.Errorf("key of checkpoints: %w", err)
	}
	if len(secret) != keySize {
		return nil, fmt.Errorf("key of checkpoints: %s has %d bytes, not %d: remove it, and every checkpoint waits for the word of a server", key, len(secret), keySize)
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &Store{dir: dir, aead: aead, fresh: fresh}, err
}

// Load reads all checkpoints; what it does not believe it gives apart.
func (s *Store) Load() (pods []*corev1.Pod, refused []*Refused, err error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, nil, fmt.Errorf("read checkpoints: %w", err)
	}
	for _, e := range entries {
		pod, path, err := s.read(types.UID(e.Name()))
		switch {
		case os.IsNotExist(err): // no pod's, or one whose first checkpoint was never written
		case err != nil:
			refused = append(refused, &Refused{path, err})
		default:
			pods = append(pods, pod)
		}
	}
	return pods, refused, nil
}

func (s *Store) read(uid types.UID) (*corev1.Pod, string, error) {
	path := s.path(uid)
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) && s.fresh {
		path = filepath.Join(filepath.Dir(path), plain)
		data, err = os.ReadFile(path)
	} else if err == nil {
		data, err = s.unseal(uid, data)
	}
	if err != nil {
		return nil, path, err
	}
	pod := &corev1.Pod{}
	if err := json.Unmarshal(data, pod); err != nil {
		return nil, path, err
	}
	if pod.UID != uid {
		return nil, path, fmt.Errorf("it is of pod %s", pod.UID)
	}
	return pod, path, nil
}

func (s *Store) unseal(uid types.UID, data []byte) ([]byte, error) {
	if len(data) == 0 || data[0] != version {
		return nil, errors.New("it is not of a version that this agent knows")
	}
	data, err := s.aead.Open(nil, nil, data[1:], label(uid))
	if err != nil {
		return nil, errors.New("it was changed, or was sealed by another node")
	}
	return data, nil
}

// label binds what is sealed to its place.
func label(uid types.UID) []byte { return append([]byte("pod "), uid...) }

func (s *Store) path(uid types.UID) string { return filepath.Join(s.dir, string(uid), sealed) }

// Save writes a pod with its status; it is on the disk when Save returns.
func (s *Store) Save(pod *corev1.Pod) error {
	data, err := json.Marshal(pod)
	if err != nil {
		return fmt.Errorf("encode checkpoint: %w", err)
	}
	path := s.path(pod.UID)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	if err := pki.WriteFile(path, s.aead.Seal([]byte{version}, nil, data, label(pod.UID)), 0o600); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	if err := os.Remove(filepath.Join(filepath.Dir(path), plain)); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove the plain checkpoint: %w", err)
	}
	return nil
}

// Remove forgets the pod and everything in its directory; its volumes have to
// be down.
func (s *Store) Remove(uid types.UID) error {
	return os.RemoveAll(filepath.Join(s.dir, string(uid)))
}
