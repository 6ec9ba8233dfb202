package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// tolerance is how far a signed time may be from ours.
const tolerance = 5 * time.Minute

// authentic tells whether a call comes from who knows the secret. Everything
// is compared in constant time.
func authentic(kind v1alpha1.WebhookType, secret []byte, h http.Header, body []byte, now time.Time) bool {
	if len(secret) == 0 {
		return false
	}
	switch kind {
	case v1alpha1.WebhookGitHub:
		given, ok := strings.CutPrefix(h.Get("X-Hub-Signature-256"), "sha256=")
		return ok && hexMAC(secret, given, body)
	case v1alpha1.WebhookGitea:
		given := h.Get("X-Gitea-Signature")
		if given == "" {
			given = h.Get("X-Forgejo-Signature")
		}
		return hexMAC(secret, given, body)
	case v1alpha1.WebhookGitLab:
		given, want := sha256.Sum256([]byte(h.Get("X-Gitlab-Token"))), sha256.Sum256(secret)
		return subtle.ConstantTimeCompare(given[:], want[:]) == 1
	case v1alpha1.WebhookGeneric:
		return standard(secret, h, body, now)
	}
	return false
}

func hexMAC(secret []byte, given string, body []byte) bool {
	mac, err := hex.DecodeString(given)
	return err == nil && hmac.Equal(mac, sum(secret, body))
}

func sum(secret []byte, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, secret)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// standard checks a call by the Standard Webhooks specification: an HMAC over
// id, time and body; the header may carry several, for a change of secrets.
func standard(secret []byte, h http.Header, body []byte, now time.Time) bool {
	id, at := h.Get("Webhook-Id"), h.Get("Webhook-Timestamp")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil || id == "" || now.Sub(time.Unix(seconds, 0)).Abs() > tolerance {
		return false
	}
	if encoded, ok := strings.CutPrefix(string(secret), "whsec_"); ok {
		if secret, err = base64.StdEncoding.DecodeString(encoded); err != nil {
			return false
		}
	}
	want := sum(secret, []byte(id+"."+at+"."), body)
	for one := range strings.FieldsSeq(h.Get("Webhook-Signature")) {
		encoded, ok := strings.CutPrefix(one, "v1,")
		given, err := base64.StdEncoding.DecodeString(encoded)
		if ok && err == nil && hmac.Equal(given, want) {
			return true
		}
	}
	return false
}
