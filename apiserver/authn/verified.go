package authn

import (
	"crypto/sha256"
	"crypto/x509"
	"sync"
	"time"
)

// keptVerified is how many certificates one generation of the memory holds.
const keptVerified = 1024

// verified remembers which certificates a pool of roots has vouched for, and
// until when: a client asks thousands of times on one connection, and to follow
// its signatures up to the root costs more than most answers. Refusals are not
// remembered.
type verified struct {
	mu         sync.Mutex // guards both
	young, old map[leaf]window
}

// leaf is a certificate and the pool that it was verified against.
type leaf struct {
	sum   [sha256.Size]byte
	roots *x509.CertPool
}

// window is when all of a chain's certificates are valid.
type window struct{ from, until time.Time }

func (w window) holds(now time.Time) bool { return !now.Before(w.from) && !now.After(w.until) }

// windowOf is the window of the first of the chains that holds now: more than
// one is rare, and the others only last longer or shorter.
func windowOf(chains [][]*x509.Certificate) (w window) {
	for i, c := range chains[0] {
		if i == 0 || c.NotBefore.After(w.from) {
			w.from = c.NotBefore
		}
		if i == 0 || c.NotAfter.Before(w.until) {
			w.until = c.NotAfter
		}
	}
	return w
}

func leafOf(c *x509.Certificate, roots *x509.CertPool) leaf {
	return leaf{sha256.Sum256(c.Raw), roots}
}

// has tells whether the certificate was verified and still is now.
func (v *verified) has(l leaf, now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if w, ok := v.young[l]; ok {
		return w.holds(now)
	}
	w, ok := v.old[l]
	if ok {
		v.put(l, w)
	}
	return ok && w.holds(now)
}

func (v *verified) add(l leaf, w window) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.put(l, w)
}

// put adds a certificate; a full generation becomes the old one and the one
// before it is forgotten.
func (v *verified) put(l leaf, w window) {
	if v.young == nil || len(v.young) >= keptVerified {
		v.old, v.young = v.young, make(map[leaf]window, 16)
	}
	v.young[l] = w
}
