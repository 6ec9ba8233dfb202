package apiserver

import (
	"context"
	"crypto/rand"
	"fmt"
	"math/big"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/authn"
)

// JoinToken describes a token that admits agents.
type JoinToken struct {
	// ID is public, Secret is not.
	ID, Secret string
	// TTL is how long it works; 0: until revoked.
	TTL time.Duration
	// Uses is how many machines it admits; 0: any number.
	Uses int
}

// NewJoinToken draws a token at random.
func NewJoinToken(ttl time.Duration) (JoinToken, error) {
	draw := func(n int) (string, error) {
		const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
		out := make([]byte, n)
		for i := range out {
			k, err := rand.Int(rand.Reader, big.NewInt(int64(len(letters))))
			if err != nil {
				return "", err
			}
			out[i] = letters[k.Int64()]
		}
		return string(out), nil
	}
	id, err := draw(6)
	if err != nil {
		return JoinToken{}, err
	}
	secret, err := draw(16)
	return JoinToken{ID: id, Secret: secret, TTL: ttl}, err
}

// Text is what a person hands to an agent: the token, and the hash that pins
// the API's authority on first contact.
func (t JoinToken) Text(api *Authorities) string {
	return fmt.Sprintf("%s.%s.%s", t.ID, t.Secret, api.API.Hash())
}

// Object is the Secret that stands for the token.
func (t JoinToken) Object(now time.Time) *corev1.Secret {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: authn.JoinTokenNamespace, Name: authn.JoinTokenName(t.ID)},
		Type:       authn.JoinTokenType,
		Data: map[string][]byte{
			"token-id": []byte(t.ID), "token-secret": []byte(t.Secret),
			"usage-bootstrap-authentication": []byte("true"), "usage-bootstrap-signing": []byte("false"),
			"auth-extra-groups": []byte(authn.GroupJoin),
		},
	}
	if t.TTL > 0 {
		secret.Data["expiration"] = []byte(now.Add(t.TTL).UTC().Format(time.RFC3339))
	}
	if t.Uses > 0 {
		authn.CountUses(secret, t.Uses)
	}
	return secret
}

// UseJoinToken counts that the user's join token admits the node:
// authn.ErrUsedUp when it has no use left. Of two machines that take the last
// use at once, the transaction's comparison lets one through.
func (s *Server) UseJoinToken(ctx context.Context, user, node string) error {
	id, ok := authn.JoinTokenID(user)
	if !ok {
		return fmt.Errorf("%q is no join token", user)
	}
	ref := txn.Ref{Resource: schema.GroupResource{Resource: "secrets"}, Namespace: authn.JoinTokenNamespace, Name: authn.JoinTokenName(id)}
	_, _, err := txn.Run(ctx, s.Peer(Masters).Txn(), Masters, txn.CommitOptions{}, func(view txn.View) ([]txn.Change, error) {
		o, _ := view.Get(ref)
		secret, ok := o.(*corev1.Secret)
		if !ok {
			return nil, fmt.Errorf("%w: it is gone", authn.ErrUsedUp)
		}
		taken, err := authn.TakeUse(secret, node, s.config.Clock.Now())
		if err != nil || taken == secret {
			return nil, err
		}
		return []txn.Change{{Verb: txn.Update, Ref: ref, Version: "v1", Object: taken, FieldManager: bootstrapManager}}, nil
	})
	return err
}

// NodeRegistered tells whether a machine has registered a node of the name; a
// Node that was made ahead of its machine is none.
func (s *Server) NodeRegistered(ctx context.Context, name string) (bool, error) {
	now, err := s.store.Current(ctx)
	if err != nil {
		return false, fmt.Errorf("read node %q: %w", name, err)
	}
	o, _ := now.Get(txn.Ref{Resource: schema.GroupResource{Resource: "nodes"}, Name: name})
	node, ok := o.(*corev1.Node)
	return ok && node.Status.NodeInfo != corev1.NodeSystemInfo{}, nil
}
