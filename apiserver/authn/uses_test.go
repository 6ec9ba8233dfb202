package authn_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/headway-sh/headway/apiserver/authn"
)

// groups are what the token's identity has, nil when it is refused.
func groups(t *testing.T, secret *corev1.Secret, at time.Time) []string {
	id, _, err := authn.New(authn.Config{Clock: clocktesting.NewFakePassiveClock(at)}).Token(t.Context(), view(secret), "abcdef.0123456789abcdef", nil)
	if err != nil {
		return nil
	}
	return id.Groups
}

// TestCountedTokenAdmitsSoMany takes both uses of a token, repeats one and
// waits until the machines have settled.
func TestCountedTokenAdmitsSoMany(t *testing.T) {
	t.Parallel()
	secret := joinSecret(nil)
	authn.CountUses(secret, 2)
	if got := groups(t, secret, now); !authn.MayJoin(got) || slices.Contains(got, authn.GroupJoin) {
		t.Errorf("unused: groups %v, want one that may join and ask for no certificate", got)
	}
	take := func(node string, at time.Time, left int, want error) {
		t.Helper()
		taken, err := authn.TakeUse(secret, node, at)
		if !errors.Is(err, want) {
			t.Fatalf("%s: %v, want %v", node, err, want)
		}
		if err == nil {
			secret = taken
		}
		if got, counted, err := authn.Uses(secret); got != left || !counted || err != nil {
			t.Errorf("after %s: %d uses left, want %d (%v)", node, got, left, err)
		}
	}
	take("n1", now, 1, nil)
	take("n1", now.Add(time.Minute), 1, nil) // its answer was lost
	if got := groups(t, secret, now); !slices.Contains(got, authn.GroupJoin) || !slices.Contains(got, authn.GroupAdmitted+"n1") {
		t.Errorf("after a use: groups %v", got)
	}
	take("n2", now.Add(time.Minute), 0, nil)
	take("n3", now.Add(time.Minute), 0, authn.ErrUsedUp)
	take("n1", now.Add(authn.SettleTime), 0, authn.ErrUsedUp) // too late to repeat
	if got := groups(t, secret, now.Add(authn.SettleTime+30*time.Second)); slices.Contains(got, authn.GroupAdmitted+"n1") || !slices.Contains(got, authn.GroupAdmitted+"n2") {
		t.Errorf("n1 has settled and n2 has not: groups %v", got)
	}
	if got := groups(t, secret, now.Add(time.Minute+authn.SettleTime)); got != nil {
		t.Errorf("used up and settled: groups %v, want a refusal", got)
	}
}

func TestTokenWithDamagedCountIsRefused(t *testing.T) {
	t.Parallel()
	for key, value := range map[string]string{"headway-uses-left": "-1", "headway-admitted": "n1",
		"auth-extra-groups": authn.GroupJoin + "," + authn.GroupAdmitted + "n9"} {
		secret := joinSecret(func(d map[string][]byte) { d["headway-uses-left"] = []byte("1"); d[key] = []byte(value) })
		if got := groups(t, secret, now); got != nil {
			t.Errorf("%s=%s: groups %v, want a refusal", key, value, got)
		}
	}
}

func TestUncountedTokenIsNotChanged(t *testing.T) {
	t.Parallel()
	secret := joinSecret(nil)
	if taken, err := authn.TakeUse(secret, "n1", now); taken != secret || err != nil {
		t.Errorf("%v, %v", taken, err)
	}
}
