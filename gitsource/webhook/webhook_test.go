package webhook_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/api/txn/txntest"
	"github.com/headway-sh/headway/gitsource/webhook"
)

var admin = txn.Identity{Name: "admin", Groups: []string{"system:masters"}}

type rig struct {
	t       *testing.T
	clock   *clocktesting.FakeClock
	store   *txntest.Store
	handler http.Handler
	counted map[string]int
}

func newRig(t *testing.T, kind v1alpha1.WebhookType) *rig {
	t.Helper()
	r := &rig{t: t, clock: clocktesting.NewFakeClock(time.Unix(1_800_000_000, 0)), counted: map[string]int{}}
	r.store = txntest.New(r.clock)
	for _, c := range []txn.Change{
		{Verb: txn.Create, Ref: txn.Ref{Resource: schema.GroupResource{Resource: "secrets"}, Namespace: "default", Name: "hook"},
			Object: &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hook"}, Data: map[string][]byte{"token": []byte("sesame\n")}}},
		{Verb: txn.Create, Ref: txn.Ref{Resource: v1alpha1.Resource("gitsources"), Name: "main"},
			Object: &v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Name: "main"}, Spec: v1alpha1.GitSourceSpec{URL: "https://example.org/x",
				Ref:      v1alpha1.GitReference{Branch: "main"},
				Previews: v1alpha1.PreviewsSpec{Refs: []string{"refs/heads/plan-*"}, Environments: &v1alpha1.EnvironmentsSpec{Refs: []string{"refs/heads/try-*"}}},
				Webhook:  &v1alpha1.WebhookSpec{Type: kind, SecretRef: v1alpha1.SecretReference{Namespace: "default", Name: "hook"}}}}},
		{Verb: txn.Create, Ref: txn.Ref{Resource: v1alpha1.Resource("gitsources"), Name: "deaf"},
			Object: &v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Name: "deaf"}, Spec: v1alpha1.GitSourceSpec{URL: "https://example.org/x"}}},
	} {
		if _, err := r.store.Do(t.Context(), admin, c); err != nil {
			t.Fatal(err)
		}
	}
	r.handler = webhook.New(webhook.Config{Txn: func() txn.Interface { return r.store }, Identity: admin, Clock: r.clock,
		Count: func(result string) { r.counted[result]++ }, Logger: slog.New(slog.DiscardHandler)})
	return r
}

// call gives the answer's status.
func (r *rig) call(name, body string, headers map[string]string) int {
	r.t.Helper()
	req := httptest.NewRequestWithContext(r.t.Context(), http.MethodPost, webhook.Path+name, strings.NewReader(body))
	for k, v := range headers {
		req.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, req)
	return w.Code
}

// asked tells when the source was told to fetch.
func (r *rig) asked() string {
	r.t.Helper()
	view, err := r.store.View(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	o, _ := view.Get(txn.Ref{Resource: v1alpha1.Resource("gitsources"), Name: "main"})
	return o.GetAnnotations()[v1alpha1.AnnotationFetch]
}

func mac(secret, content string) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(content))
	return h.Sum(nil)
}

// senders sign a body as each forge does.
var senders = map[v1alpha1.WebhookType]func(secret, body string, now time.Time) map[string]string{
	v1alpha1.WebhookGitHub: func(secret, body string, _ time.Time) map[string]string {
		return map[string]string{"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + hex.EncodeToString(mac(secret, body))}
	},
	v1alpha1.WebhookGitea: func(secret, body string, _ time.Time) map[string]string {
		return map[string]string{"X-Gitea-Event": "push", "X-Gitea-Signature": hex.EncodeToString(mac(secret, body))}
	},
	v1alpha1.WebhookGitLab: func(secret, _ string, _ time.Time) map[string]string {
		return map[string]string{"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": secret}
	},
	v1alpha1.WebhookGeneric: func(secret, body string, now time.Time) map[string]string {
		at := fmt.Sprint(now.Unix())
		return map[string]string{"Webhook-Id": "msg_1", "Webhook-Timestamp": at,
			"Webhook-Signature": "v1,AAAA v1," + base64.StdEncoding.EncodeToString(mac(secret, "msg_1."+at+"."+body))}
	},
}

const push = `{"ref":"refs/heads/main","after":"1111111111111111111111111111111111111111"}`

func TestCalls(t *testing.T) {
	t.Parallel()
	for kind, sign := range senders {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, kind)
			now := r.clock.Now()
			// Nothing forged does anything, and none tells more than another.
			for what, status := range map[string]int{
				"no signature": r.call("main", push, nil),
				"other secret": r.call("main", push, sign("other", push, now)),
				"no secret":    r.call("main", push, sign("", push, now)),
				"no webhook":   r.call("deaf", push, sign("sesame", push, now)),
				"no source":    r.call("none", push, sign("sesame", push, now)),
				"a long path":  r.call("main/../none", push, sign("sesame", push, now)),
			} {
				if status != http.StatusUnauthorized {
					t.Errorf("%s: %d", what, status)
				}
			}
			if r.asked() != "" || r.counted["forged"] != 6 {
				t.Fatalf("asked %q, counted %v", r.asked(), r.counted)
			}
			if status := r.call("main", push, sign("sesame", push, now)); status != http.StatusAccepted || r.asked() == "" {
				t.Fatalf("a push: %d, asked %q", status, r.asked())
			}
			// The same again is only heard.
			asked := r.asked()
			r.clock.Step(time.Minute)
			if status := r.call("main", push, sign("sesame", push, now)); status != http.StatusOK || r.asked() != asked {
				t.Errorf("a replay: %d, asked %q", status, r.asked())
			}
			if kind != v1alpha1.WebhookGeneric { // there the header is signed
				disguised := sign("sesame", push, now)
				disguised["Webhook-Id"] = "another"
				if status := r.call("main", push, disguised); status != http.StatusOK || r.asked() != asked {
					t.Errorf("a replay in disguise: %d, asked %q", status, r.asked())
				}
			}
			other := strings.Replace(push, "main", "feature", 1)
			if status := r.call("main", other, sign("sesame", other, now)); status != http.StatusAccepted || r.asked() != asked {
				t.Errorf("another branch: %d, asked %q", status, r.asked())
			}
			for _, branch := range []string{"plan-x", "try-x"} {
				preview := strings.Replace(push, "main", branch, 1)
				if status := r.call("main", preview, sign("sesame", preview, now)); status != http.StatusAccepted || r.asked() == asked {
					t.Errorf("a preview's branch: %d, asked %q", status, r.asked())
				}
				asked = r.asked()
				r.clock.Step(time.Second)
				now = r.clock.Now()
			}
			next := strings.Replace(push, "111", "222", 1)
			if status := r.call("main", next, sign("sesame", next, now)); status != http.StatusAccepted || r.asked() == asked {
				t.Errorf("the next push: %d, asked %q", status, r.asked())
			}
		})
	}
}

func TestChangedBodyIsForged(t *testing.T) {
	t.Parallel()
	for kind, sign := range senders {
		if kind == v1alpha1.WebhookGitLab {
			continue // it shows its secret and signs nothing
		}
		r := newRig(t, kind)
		if status := r.call("main", push+" ", sign("sesame", push, r.clock.Now())); status != http.StatusUnauthorized {
			t.Errorf("%s: %d", kind, status)
		}
	}
}

func TestOldCallsAreForged(t *testing.T) {
	t.Parallel()
	r := newRig(t, v1alpha1.WebhookGeneric)
	for _, at := range []time.Duration{-6 * time.Minute, 6 * time.Minute} {
		if status := r.call("main", push, senders[v1alpha1.WebhookGeneric]("sesame", push, r.clock.Now().Add(at))); status != http.StatusUnauthorized {
			t.Errorf("%s: %d", at, status)
		}
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	r := newRig(t, v1alpha1.WebhookGitHub)
	if status := r.call("main", strings.Repeat("x", 1<<20+1), nil); status != http.StatusRequestEntityTooLarge {
		t.Errorf("a body over a MiB: %d", status)
	}
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, webhook.Path+"main", nil)
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, req)
	if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != http.MethodPost {
		t.Errorf("GET: %d", w.Code)
	}
}
