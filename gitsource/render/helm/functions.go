package helm

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// The limits of what templates may do.
const (
	maxRounds = 1_000_000
	maxList   = 100_000
	maxMemory = 512 << 20 // above what was in use before
)

// refused are functions whose result differs at each call.
var refused = []string{
	"randInt", "shuffle", "genPrivateKey", "genCA", "genCAWithKey", "genSelfSignedCert", "genSelfSignedCertWithKey",
	"genSignedCert", "genSignedCertWithKey", "bcrypt", "htpasswd", "encryptAES", "getHostByName", "ago",
}

const never = "is off: it gives another result at each render, and what git says would never be what is live; write the value down (encrypted, if it is secret) and pass it in a values file"

// functions are those that differ from Helm's own, and what they have noticed.
type functions struct {
	table       map[string]any
	random      *random
	live, dated atomic.Bool
}

func newFunctions(ctx context.Context, o Options) *functions {
	f := &functions{random: &random{key: o.Key, release: o.Namespace + "/" + o.Release}}
	f.table = map[string]any{
		"headwayRound": rounder(ctx),
		"headwayBegin": f.random.begin,
		"now": func() time.Time {
			f.dated.Store(true)
			return o.Time
		},
		"lookup": func(apiVersion, kind, namespace, name string) (map[string]any, error) {
			f.live.Store(true)
			if o.Lookup == nil {
				return map[string]any{}, nil
			}
			return o.Lookup(apiVersion, kind, namespace, name)
		},
		"repeat": func(n int, s string) (string, error) {
			if n < 0 || len(s) > 0 && n > MaxOutput/len(s) {
				return "", fmt.Errorf("repeat: %d times %d bytes are too many", n, len(s))
			}
			return strings.Repeat(s, n), nil
		},
		"until":     func(n int) ([]int, error) { return list(0, n, 1) },
		"untilStep": list,
		"uuidv4":    f.random.uuid,
	}
	for _, name := range refused {
		f.table[name] = func(...any) (string, error) { return "", fmt.Errorf("%s %s", name, never) }
	}
	for name, alphabet := range alphabets {
		f.table[name] = func(n int) (string, error) { return f.random.text(alphabet, n) }
	}
	return f
}

// list is what until and untilStep give.
func list(start, stop, step int) ([]int, error) {
	if start > stop && step == 1 {
		step = -1
	}
	if step == 0 || start < stop && step < 0 || start > stop && step > 0 {
		return []int{}, nil
	}
	if n := (stop - start) / step; n > maxList {
		return nil, fmt.Errorf("a list of %d numbers is too long", n)
	}
	out := []int{}
	for i := start; (step > 0 && i < stop) || (step < 0 && i > stop); i += step {
		out = append(out, i)
	}
	return out, nil
}

// rounder gives the function that is called in every round of a template. It
// looks at the clock at each, and at memory at some.
func rounder(ctx context.Context) func() (string, error) {
	var n atomic.Int64
	sample := func() uint64 {
		s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	before := sample()
	return func() (string, error) {
		round := n.Add(1)
		switch {
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		case round > maxRounds:
			return "", fmt.Errorf("the templates loop more than %d times", maxRounds)
		case round%512 == 0 && sample() > before+maxMemory:
			return "", fmt.Errorf("the templates take more than %d bytes of memory", maxMemory)
		}
		return "", nil
	}
}

// maxRandom is the longest random text.
const maxRandom = 4096

// random makes texts that look random and that only who has the key can guess,
// from the release, the template and how many came before in it: they are the
// same at each render.
type random struct {
	key     []byte
	release string

	mu       sync.Mutex // guards all below
	template string
	calls    uint64
}

var alphabets = map[string]string{
	"randAlphaNum": "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
	"randAlpha":    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
	"randAscii":    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%()*+,-./:;<=>?@^_~",
	"randNumeric":  "0123456789",
	"randBytes":    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", // base64, as the original
}

// begin says which template is rendered from now on.
func (r *random) begin(template string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.template, r.calls = template, 0
	return ""
}

func (r *random) text(alphabet string, n int) (string, error) {
	if n < 0 || n > maxRandom {
		return "", fmt.Errorf("%d random characters are too many", n)
	}
	out := make([]byte, 0, n)
	for len(out) < n {
		for _, b := range r.block() {
			if len(out) < n {
				out = append(out, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return string(out), nil
}

func (r *random) uuid() string {
	id := uuid.UUID(r.block()[:16])
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id.String()
}

func (r *random) block() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	h := hmac.New(sha256.New, r.key)
	fmt.Fprintf(h, "helm\x00%s\x00%s\x00%d", r.release, r.template, r.calls)
	return h.Sum(nil)
}
