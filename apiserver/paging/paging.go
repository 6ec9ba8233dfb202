package paging

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

// continueToken says where a chunked list goes on, in the form that clients of
// Kubernetes carry around (and sometimes decode).
type continueToken struct {
	Version  string `json:"v"`
	Revision int64  `json:"rv"`
	// Start is the key after which the list goes on: "ns/name\x00" or "name\x00".
	Start string `json:"start"`
	// Begun is when the list began, in seconds since 1970; 0 in tokens of others.
	Begun int64 `json:"begun,omitempty"`
}

const continueVersion = "meta.k8s.io/v1"

// continueTime is how long a list may go on from one revision. Nothing here
// forgets a revision just because it is old, but clients rely on tokens that
// expire after five to fifteen minutes: to find out that they have been too
// slow, and that what they work through is far from the truth by now.
const continueTime = 10 * time.Minute

// Place is where a chunked list goes on.
type Place struct {
	// Revision of all of the list; below zero: the rest comes from the newest
	// state.
	Revision int64
	// After is the last object that the client has.
	After txn.Ref
	// Begun is when the list began; the zero time: unknown.
	Begun time.Time
}

// Expired tells whether the list has taken too long.
func (p *Place) Expired(now time.Time) bool {
	return !p.Begun.IsZero() && now.Sub(p.Begun) > continueTime
}

// maxContinue bounds a token that a client hands in.
const maxContinue = 4 << 10

// Encode makes the token for a place.
func Encode(k *kind.Kind, p Place) string {
	start := p.After.Name
	if k.Namespaced {
		start = p.After.Namespace + "/" + p.After.Name
	}
	token := continueToken{Version: continueVersion, Revision: p.Revision, Start: start + "\x00"}
	if !p.Begun.IsZero() {
		token.Begun = p.Begun.Unix()
	}
	b, err := json.Marshal(token)
	if err != nil {
		return "" // strings and numbers always encode
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// Decode reads a token that may come from anywhere: what it names is
// only ever a place inside the kind's own order.
func Decode(k *kind.Kind, text string) (*Place, error) {
	invalid := func(why string) (*Place, error) {
		return nil, apierrors.NewBadRequest("continue key is not valid: " + why)
	}
	if len(text) > maxContinue {
		return invalid("it is too long")
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return invalid(err.Error())
	}
	var token continueToken
	if err := json.Unmarshal(b, &token); err != nil {
		return invalid(err.Error())
	}
	switch {
	case token.Version != continueVersion:
		return invalid(fmt.Sprintf("server does not recognize this encoded version %s", token.Version))
	case token.Revision == 0:
		return invalid("incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
	case token.Start == "":
		return invalid("encoded start key empty (version meta.k8s.io/v1)")
	}
	key := strings.TrimSuffix(token.Start, "\x00")
	ref := k.Ref("", key)
	if k.Namespaced {
		namespace, name, ok := strings.Cut(key, "/")
		if !ok {
			return invalid(token.Start)
		}
		ref = k.Ref(namespace, name)
	}
	for _, part := range []string{ref.Namespace, ref.Name} {
		if part == "." || part == ".." || strings.ContainsAny(part, "/\x00") {
			return invalid(token.Start)
		}
	}
	p := &Place{Revision: token.Revision, After: ref}
	if token.Begun != 0 {
		p.Begun = time.Unix(token.Begun, 0)
	}
	return p, nil
}

// ExpiredError is the answer to a continue token whose revision is gone; it
// carries a token with which the client may go on from the newest state, if it
// can live with a list that is not of one revision.
func ExpiredError(k *kind.Kind, after txn.Ref) error {
	err := apierrors.NewResourceExpired("The provided continue parameter is too old " +
		"to display a consistent list result. You can start a new list without " +
		"the continue parameter, or use the continue token in this response to " +
		"retrieve the remainder of the results. Continuing with the provided " +
		"token results in an inconsistent list - objects that were created, " +
		"modified, or deleted between the time the first chunk was returned " +
		"and now may show up in the list.")
	err.ErrStatus.ListMeta = metav1.ListMeta{Continue: Encode(k, Place{Revision: -1, After: after})}
	return err
}
