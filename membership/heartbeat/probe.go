package heartbeat

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"time"
)

// Probes are for links that lose packets. A stream over such a link stands
// still for seconds, while single packets go through: an agent that misses an
// echo sends probes, each on its own, and the server answers each. A probe says
// which answer came back last, so that the server knows of round trips and not
// only of what reaches it. The key of a node's probes is given with its stream:
// who can send packets cannot make another node seem alive.
//
//	kind 1 │ counter 8 │ last answered 8 │ MAC 16 │ node's name
const (
	probeEvery = 100 * time.Millisecond
	// probeAfter is how old the last echo is when probes begin, probeFor when
	// they end: the server is gone then.
	probeAfter = Interval + Interval/10
	probeFor   = time.Minute

	keyHeader  = "Headway-Probe-Key"
	nodeHeader = "Headway-Node"
	keySize    = 32
	macSize    = 16
	probeSize  = 17 + macSize
	kindProbe  = 'p'
	kindAnswer = 'a'
	// remembered is how many probes' times a server keeps for each node: more
	// than are sent while one counts.
	remembered = 64
)

// errProbe is a probe or answer that is not believed.
var errProbe = errors.New("not a probe of a node with a stream")

// probe is a message, either way.
type probe struct {
	kind              byte
	counter, answered uint64
	node              string
}

func (p probe) seal(key []byte) []byte {
	b := make([]byte, probeSize, probeSize+len(p.node))
	b[0] = p.kind
	binary.BigEndian.PutUint64(b[1:], p.counter)
	binary.BigEndian.PutUint64(b[9:], p.answered)
	b = append(b, p.node...)
	copy(b[17:], mac(key, b))
	return b
}

// mac covers all of a message but itself.
func mac(key, b []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(b[:17])
	h.Write(b[probeSize:])
	return h.Sum(nil)[:macSize]
}

// readProbe reads a message without believing it.
func readProbe(b []byte) (probe, bool) {
	if len(b) <= probeSize || b[0] != kindProbe && b[0] != kindAnswer {
		return probe{}, false
	}
	return probe{b[0], binary.BigEndian.Uint64(b[1:]), binary.BigEndian.Uint64(b[9:]), string(b[probeSize:])}, true
}

func believe(key, b []byte) bool {
	return len(key) == keySize && hmac.Equal(mac(key, b), b[17:probeSize])
}

func newKey() []byte {
	key := make([]byte, keySize)
	_, _ = rand.Read(key) // never fails
	return key
}

func encodeKey(key []byte) string { return base64.StdEncoding.EncodeToString(key) }

func decodeKey(text string) []byte {
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) != keySize {
		return nil // an older server's, which takes no probes
	}
	return key
}

// keptKeys is how many of a node's streams' keys a server believes, until a
// newer one is used.
const keptKeys = 4

// probed is what a server knows of a node's probes under one key.
type probed struct {
	key   []byte
	last  uint64
	times [remembered]time.Time // by counter
}

// Probed takes a probe, and gives the node that sent it and the answer for it.
// Old probes again are refused.
func (s *Server) Probed(message []byte) (node string, answer []byte, err error) {
	p, ok := readProbe(message)
	if !ok || p.kind != kindProbe {
		return "", nil, errProbe
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.states[p.node]
	if e == nil {
		return "", nil, errProbe
	}
	i := slices.IndexFunc(e.probes, func(k *probed) bool { return believe(k.key, message) })
	if i < 0 || p.counter <= e.probes[i].last {
		return "", nil, errProbe
	}
	by := e.probes[i]
	e.probes = e.probes[:i+1]
	by.last, by.times[p.counter%remembered] = p.counter, s.clock.Now()
	if p.answered > 0 && p.answered <= p.counter && p.counter-p.answered < remembered {
		if at := by.times[p.answered%remembered]; at.After(e.State.Probed) {
			news := at.Sub(e.State.Probed) > Interval // who is told looks again by himself
			if e.State.Probed = at; news {
				s.tell(p.node)
			}
		}
	}
	return p.node, probe{kind: kindAnswer, counter: p.counter, node: p.node}.seal(by.key), nil
}
