// Package pulls remembers by whose right the images of a node were pulled: a pod
// may use an image that is there only if it could have pulled it itself.
//
//	loaded by hand, or pulled without credentials     everybody
//	pulled with credentials of the node's own file    every pod of the node, no other node
//	pulled with a pod's secret                        who has the same credentials; others
//	                                                  ask the registry, with theirs
//
// What is written holds no credentials, only salted digests of them.
package pulls

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/headway-sh/headway/internal/pki"
	"github.com/headway-sh/headway/nodeagent/runtime"
)

// Access is who may use an image.
type Access struct {
	// Node says that every pod of this node may.
	Node bool `json:"node,omitempty"`
	// Credentials are digests of those that opened the registry for it.
	Credentials []string `json:"credentials,omitempty"`
}

// state is what is on the disk.
type state struct {
	Salt []byte `json:"salt"`
	// Images are by ID; one that is not there is everybody's.
	Images map[string]Access `json:"images"`
	// Begun are references that were being pulled, with the IDs of the images
	// that they named before: what else came of one before a crash is nobody's.
	Begun map[string]string `json:"pulling,omitempty"`
	// Before is what was written for Begun when it did not tell what was there.
	Before map[string]bool `json:"begun,omitempty"`
}

// Records are those of one node. They are safe for concurrent use.
type Records struct {
	path string

	mu    sync.Mutex // guards state, and the file
	state state
	now   map[string]int // pulls of this life that are under way, by reference
}

// Open reads the records, or begins them.
func Open(path string) (*Records, error) {
	r := &Records{path: path, now: map[string]int{}}
	text, err := os.ReadFile(path)
	switch {
	case os.IsNotExist(err):
		r.state.Salt = make([]byte, 32)
		if _, err := rand.Read(r.state.Salt); err != nil {
			return nil, fmt.Errorf("records of pulls: %w", err)
		}
	case err != nil:
		return nil, fmt.Errorf("records of pulls: %w", err)
	default:
		err := json.Unmarshal(text, &r.state)
		if err == nil && len(r.state.Salt) == 0 {
			err = errors.New("it has no salt")
		}
		if err != nil {
			return nil, fmt.Errorf("records of pulls: %s is not what was written (%w): remove it, and with it what it knows of who may use the images that are here", path, err)
		}
	}
	if r.state.Images == nil {
		r.state.Images = map[string]Access{}
	}
	if r.state.Begun == nil {
		r.state.Begun = map[string]string{}
	}
	for ref := range r.state.Before {
		r.state.Begun[ref] = ""
	}
	r.state.Before = nil
	return r, nil
}

// Begin is called before every pull: whether the node's own credentials open
// the registry shows when it has begun. image is the ID of what the node has
// under the reference already, which stays whose it was; empty: nothing. End is
// called after a pull that has brought an image, Fail after another.
func (r *Records) Begin(ref, image string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now[ref]++
	if _, begun := r.state.Begun[ref]; begun {
		return nil // what is there may have come of the pull that did not end
	}
	r.state.Begun[ref] = image
	return r.write()
}

// End says what image a pull has brought, and by whose right: that of a pod's
// credentials, or else of the node's own if node is set, or else of everybody.
// there says that the node had the image before: an open one stays open.
func (r *Records) End(ref, image string, there bool, credentials *runtime.Credentials, node bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, known := r.state.Images[image]
	_, begun := r.state.Begun[ref]
	delete(r.state.Begun, ref)
	r.leave(ref)
	if there && !known {
		if begun {
			return r.write()
		}
		return nil
	}
	after := Access{Node: before.Node || node, Credentials: slices.Clone(before.Credentials)}
	switch {
	case credentials == nil && !node:
		if !known && !begun {
			return nil
		}
		delete(r.state.Images, image)
		return r.write()
	case credentials != nil:
		if d := r.digest(*credentials); !slices.Contains(after.Credentials, d) {
			after.Credentials = append(after.Credentials, d)
		}
	}
	if known && !begun && before.Node == after.Node && len(before.Credentials) == len(after.Credentials) {
		return nil
	}
	r.state.Images[image] = after
	return r.write()
}

// Fail says that a pull has ended without an image, and what image the reference
// names now: where that is what it named before nothing has come of it.
func (r *Records) Fail(ref, image string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leave(ref)
	return r.forget(func(other string) (string, bool) { return image, other == ref })
}

// Recover forgets what an earlier agent has begun and what has brought nothing,
// by the images that references name now.
func (r *Records) Recover(named map[string]string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.forget(func(ref string) (string, bool) { return named[ref], true })
}

// forget drops those of the references in question that mean what they meant
// when their pulls began and that nobody pulls now; mu is held.
func (r *Records) forget(now func(ref string) (image string, asked bool)) error {
	before := len(r.state.Begun)
	maps.DeleteFunc(r.state.Begun, func(ref, was string) bool {
		image, asked := now(ref)
		return asked && image == was && r.now[ref] == 0
	})
	if before == len(r.state.Begun) {
		return nil
	}
	return r.write()
}

// leave counts a pull that has ended; mu is held.
func (r *Records) leave(ref string) {
	if r.now[ref]--; r.now[ref] <= 0 {
		delete(r.now, ref)
	}
}

// Public tells whether anybody may have an image, also other nodes.
func (r *Records) Public(image string, names []string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, known := r.state.Images[image]
	return !known && !r.begun(image, names)
}

// Allows tells whether a pod with these credentials may use an image of the node.
func (r *Records) Allows(image string, names []string, credentials []runtime.Credentials) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	access, known := r.state.Images[image]
	if !known {
		return !r.begun(image, names)
	}
	return access.Node || slices.ContainsFunc(credentials, func(c runtime.Credentials) bool {
		return slices.Contains(access.Credentials, r.digest(c))
	})
}

// begun tells whether the image may be what came of a pull that did not end.
func (r *Records) begun(image string, names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		before, begun := r.state.Begun[name]
		return begun && before != image
	})
}

// Keep forgets the images that are not there any more. They are listed while no
// pull can end: one that brings an image after the list was made would be
// forgotten with it, and be everybody's.
func (r *Records) Keep(list func() (map[string]bool, error)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	images, err := list()
	if err != nil {
		return err
	}
	gone := false
	for id := range r.state.Images {
		if !images[id] {
			delete(r.state.Images, id)
			gone = true
		}
	}
	if !gone {
		return nil
	}
	return r.write()
}

func (r *Records) digest(c runtime.Credentials) string {
	h := hmac.New(sha256.New, r.state.Salt)
	text, _ := json.Marshal(c) // of three strings
	h.Write(text)
	return hex.EncodeToString(h.Sum(nil))
}

func (r *Records) write() error {
	text, err := json.Marshal(r.state)
	if err != nil {
		return err
	}
	if err := pki.WriteFile(r.path, text, 0o600); err != nil {
		return fmt.Errorf("write records of pulls: %w", err)
	}
	return nil
}
