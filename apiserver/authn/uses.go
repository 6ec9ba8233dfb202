package authn

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// SettleTime is how long a name that a use of a counted token has admitted
	// may have its certificate signed with the token, and repeat its join when
	// the answer was lost.
	SettleTime = 5 * time.Minute
	// GroupCounted is what counted tokens belong to: they may join, and only a
	// counted use gives them GroupJoin.
	GroupCounted = GroupBootstrappers + ":headway:counted"
	// GroupAdmitted and a node's name is the group of a counted token whose use
	// that name has taken. Certificates are signed for no other name.
	GroupAdmitted = GroupBootstrappers + ":headway:admitted:"

	// usesKey is how many uses a counted token has left; other tokens lack it.
	usesKey = "headway-uses-left"
	// admittedKey is a JSON object of the names admitted of late and when.
	admittedKey = "headway-admitted"
)

// ErrUsedUp says that a token has admitted as many machines as it may.
var ErrUsedUp = errors.New("the join token has no use left")

// CountUses makes the Secret of a new token a counted one.
func CountUses(secret *corev1.Secret, uses int) {
	secret.Data[usesKey] = []byte(strconv.Itoa(uses))
	secret.Data["auth-extra-groups"] = []byte(GroupCounted)
}

// Uses are how often a token may still admit; counted is false for one that is
// limited by time alone.
func Uses(secret *corev1.Secret) (left int, counted bool, err error) {
	text, counted := secret.Data[usesKey]
	if !counted {
		return 0, false, nil
	}
	left, err = strconv.Atoi(string(text))
	if err != nil || left < 0 {
		return 0, true, fmt.Errorf("join token %s: %s is %q, want a number", secret.Data["token-id"], usesKey, text)
	}
	return left, true, nil
}

// TakeUse gives the Secret after the node's join: itself when nothing is to be
// counted, which is so for a name that repeats itself within SettleTime.
func TakeUse(secret *corev1.Secret, node string, now time.Time) (*corev1.Secret, error) {
	left, counted, err := Uses(secret)
	if err != nil || !counted {
		return secret, err
	}
	admitted, err := admittedBy(secret, now)
	if err != nil {
		return nil, err
	}
	if _, again := admitted[node]; again {
		return secret, nil
	}
	if left == 0 {
		return nil, ErrUsedUp
	}
	admitted[node] = now.UTC()
	text, err := json.Marshal(admitted)
	if err != nil {
		return nil, err
	}
	taken := secret.DeepCopy()
	taken.Data[usesKey], taken.Data[admittedKey] = []byte(strconv.Itoa(left-1)), text
	return taken, nil
}

// admittedBy are the names that the token has admitted within SettleTime.
func admittedBy(secret *corev1.Secret, now time.Time) (map[string]time.Time, error) {
	admitted := map[string]time.Time{}
	if text := secret.Data[admittedKey]; len(text) > 0 {
		if err := json.Unmarshal(text, &admitted); err != nil {
			return nil, fmt.Errorf("join token %s: read %s: %w", secret.Data["token-id"], admittedKey, err)
		}
	}
	for name, at := range admitted {
		if now.Sub(at) >= SettleTime {
			delete(admitted, name)
		}
	}
	return admitted, nil
}

// countedGroups are the groups that a token has by its uses; ErrUsedUp when it
// has none left and nobody settles any more.
func countedGroups(secret *corev1.Secret, now time.Time) ([]string, error) {
	left, counted, err := Uses(secret)
	if err != nil || !counted {
		return nil, err
	}
	admitted, err := admittedBy(secret, now)
	if err != nil {
		return nil, err
	}
	if len(admitted) == 0 {
		if left == 0 {
			return nil, ErrUsedUp
		}
		return nil, nil
	}
	groups := []string{GroupJoin}
	for name := range admitted {
		groups = append(groups, GroupAdmitted+name)
	}
	return groups, nil
}

// JoinTokenID is the id of the token behind a user name; false for others.
func JoinTokenID(user string) (string, bool) { return strings.CutPrefix(user, userBootstrap) }

// MayJoin tells whether the groups are those of a token that admits nodes.
func MayJoin(groups []string) bool {
	return slices.Contains(groups, GroupJoin) || slices.Contains(groups, GroupCounted)
}
