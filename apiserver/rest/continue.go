package rest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

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
}

const continueVersion = "meta.k8s.io/v1"

// maxContinue bounds a token that a client hands in.
const maxContinue = 4 << 10

// encodeContinue makes the token to go on after an object. A revision below
// zero says that the rest comes from the newest state.
func encodeContinue(k *kind.Kind, revision int64, last txn.Ref) string {
	start := last.Name
	if k.Namespaced {
		start = last.Namespace + "/" + last.Name
	}
	b, err := json.Marshal(continueToken{Version: continueVersion, Revision: revision, Start: start + "\x00"})
	if err != nil {
		return "" // strings and numbers always encode
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// decodeContinue reads a token that may come from anywhere: what it names is
// only ever a place inside the kind's own order.
func decodeContinue(k *kind.Kind, text string) (revision int64, after *txn.Ref, err error) {
	invalid := func(why string) (int64, *txn.Ref, error) {
		return 0, nil, apierrors.NewBadRequest("continue key is not valid: " + why)
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
	return token.Revision, &ref, nil
}

// expiredContinue is the answer to a continue token whose revision is gone; it
// carries a token with which the client may go on from the newest state, if it
// can live with a list that is not of one revision.
func expiredContinue(k *kind.Kind, after txn.Ref) error {
	err := apierrors.NewResourceExpired("The provided continue parameter is too old " +
		"to display a consistent list result. You can start a new list without " +
		"the continue parameter, or use the continue token in this response to " +
		"retrieve the remainder of the results. Continuing with the provided " +
		"token results in an inconsistent list - objects that were created, " +
		"modified, or deleted between the time the first chunk was returned " +
		"and now may show up in the list.")
	err.ErrStatus.ListMeta = metav1.ListMeta{Continue: encodeContinue(k, -1, after)}
	return err
}
