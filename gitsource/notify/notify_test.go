package notify_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/notify"
)

var message = notify.Message{Cluster: "prod", Source: "main", Event: v1alpha1.NotifyFailed, Severity: v1alpha1.SeverityError, Time: time.Unix(0, 0).UTC(), Commit: "0123456789abcdef", Author: "Jane <jane@example.org>", Subject: "break it", Text: "a & b"}

func TestWhatIsSent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		target notify.Target
		want   map[string]any
	}{
		"document": {notify.Target{Key: []byte("k")}, map[string]any{"cluster": "prod", "source": "main", "event": "Failed", "severity": "error", "time": "1970-01-01T00:00:00Z",
			"commit": "0123456789abcdef", "author": "Jane <jane@example.org>", "subject": "break it", "text": "a & b"}},
		"chat": {notify.Target{Type: v1alpha1.NotifySlack}, map[string]any{"text": `[prod/main] Failed 0123456789ab "break it" by Jane &lt;jane@example.org&gt;: a &amp; b`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got map[string]any
			var signature, want string
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil || json.Unmarshal(body, &got) != nil {
					t.Errorf("%v: %s", err, body)
				}
				signature = r.Header.Get(notify.SignatureHeader)
				if mac := hmac.New(sha256.New, c.target.Key); len(c.target.Key) > 0 {
					mac.Write(body)
					want = "sha256=" + hex.EncodeToString(mac.Sum(nil))
				}
			}))
			defer server.Close()
			c.target.URL = server.URL
			if err := notify.NewSender(nil).Send(t.Context(), c.target, message); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			if signature != want {
				t.Errorf("signed %q, want %q", signature, want)
			}
		})
	}
}

// TestWhatGoesWrong: errors say what, and never have the URL in them.
func TestWhatGoesWrong(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer other.Close()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"an error": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "the answer is 500"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		}, "redirect"},
		"a stall": {func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // else nobody sees that the client has gone
			<-r.Context().Done()
		}, "deadline"},
		"an end": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(c.answer)
			defer server.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			err := notify.NewSender(nil).Send(ctx, notify.Target{URL: server.URL + "/secret-token"}, message)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret-token") {
				t.Errorf("the error is %v, want %q", err, c.want)
			}
		})
	}
	for _, bad := range []string{"", "ftp://example.org", "https://", "://secret-token"} {
		if err := notify.NewSender(nil).Send(t.Context(), notify.Target{URL: bad}, message); err == nil || strings.Contains(err.Error(), "secret-token") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
