package authn

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
)

// Join tokens are kept as Kubernetes keeps bootstrap tokens: Secrets of this
// type in kube-system, named by their id.
const (
	JoinTokenType      = corev1.SecretTypeBootstrapToken
	JoinTokenNamespace = "kube-system"
	joinTokenPrefix    = "bootstrap-token-"
)

var (
	secrets          = schema.GroupResource{Resource: "secrets"}
	joinTokenPattern = regexp.MustCompile(`^([a-z0-9]{6})\.([a-z0-9]{16})$`)
)

// JoinTokenName is the name of the Secret that holds the token with the id.
func JoinTokenName(id string) string { return joinTokenPrefix + id }

func splitJoinToken(token string) (id, secret string, ok bool) {
	m := joinTokenPattern.FindStringSubmatch(token)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

// joinToken accepts a token whose Secret is there, matches, allows
// authentication and has not expired.
func joinToken(view txn.View, id, secret string, now time.Time) (txn.Identity, error) {
	refused := errors.New("the join token is unknown, revoked or expired")
	o, ok := view.Get(txn.Ref{Resource: secrets, Namespace: JoinTokenNamespace, Name: JoinTokenName(id)})
	if !ok || o.GetDeletionTimestamp() != nil {
		return txn.Identity{}, refused
	}
	stored, ok := o.(*corev1.Secret)
	if !ok || stored.Type != JoinTokenType || string(stored.Data["token-id"]) != id {
		return txn.Identity{}, refused
	}
	if subtle.ConstantTimeCompare(stored.Data["token-secret"], []byte(secret)) != 1 {
		return txn.Identity{}, refused
	}
	if string(stored.Data["usage-bootstrap-authentication"]) != "true" {
		return txn.Identity{}, refused
	}
	if expires := string(stored.Data["expiration"]); expires != "" {
		at, err := time.Parse(time.RFC3339, expires)
		if err != nil || !now.Before(at) {
			return txn.Identity{}, refused
		}
	}
	counted, err := countedGroups(stored, now)
	if err != nil {
		return txn.Identity{}, err
	}
	groups := append([]string{GroupBootstrappers}, counted...)
	for group := range strings.SplitSeq(string(stored.Data["auth-extra-groups"]), ",") {
		group = strings.TrimSpace(group)
		if group == "" {
			continue
		}
		if !strings.HasPrefix(group, GroupBootstrappers+":") {
			return txn.Identity{}, fmt.Errorf("join token %s names the group %q, which is not below %s", id, group, GroupBootstrappers)
		}
		if strings.HasPrefix(group, GroupAdmitted) {
			return txn.Identity{}, fmt.Errorf("join token %s names the group %q, which only a counted use gives", id, group)
		}
		groups = append(groups, group)
	}
	slices.Sort(groups)
	return txn.Identity{Name: userBootstrap + id, Groups: slices.Compact(groups)}, nil
}
