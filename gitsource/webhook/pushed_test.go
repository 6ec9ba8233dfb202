package webhook_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
)

func (r *rig) pushed() string {
	r.t.Helper()
	view, err := r.store.View(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	o, _ := view.Get(txn.Ref{Resource: v1alpha1.Resource("gitsources"), Name: "main"})
	return o.GetAnnotations()[v1alpha1.AnnotationPushed]
}

// TestWhoHasPushed: every forge names the person in words of its own.
func TestWhoHasPushed(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("1", 40)
	for name, c := range map[string]struct {
		kind v1alpha1.WebhookType
		body string
		want string
	}{
		"github":       {v1alpha1.WebhookGitHub, `{"ref":"refs/heads/main","after":"` + id + `","pusher":{"name":"jane","email":"jane@example.org"},"sender":{"login":"jane"}}`, id + " jane <jane@example.org>"},
		"gitea":        {v1alpha1.WebhookGitea, `{"ref":"refs/heads/main","after":"` + id + `","pusher":{"id":1,"login":"jane","full_name":"Jane Doe","email":"jane@example.org","username":"jane"}}`, id + " Jane Doe (jane) <jane@example.org>"},
		"gitlab":       {v1alpha1.WebhookGitLab, `{"ref":"refs/heads/main","after":"` + id + `","checkout_sha":"` + id + `","user_name":"Jane Doe","user_username":"jane","user_email":""}`, id + " Jane Doe (jane)"},
		"gitlab's tag": {v1alpha1.WebhookGitLab, `{"after":"2222222222222222222222222222222222222222","checkout_sha":"` + id + `","user_name":"Jane"}`, id + " Jane"},
		"others":       {v1alpha1.WebhookGeneric, `{"after":"` + id + `","pusher":{"name":"jane"}}`, id + " jane"},
		"nobody":       {v1alpha1.WebhookGitHub, `{"ref":"refs/heads/main","after":"` + id + `"}`, ""},
		"a deletion":   {v1alpha1.WebhookGitHub, `{"ref":"refs/heads/main","after":"` + strings.Repeat("0", 40) + `","pusher":{"name":"jane"}}`, ""},
		"two lines":    {v1alpha1.WebhookGitHub, `{"after":"` + id + `","pusher":{"name":"jane\n` + strings.Repeat("2", 40) + ` \u001b[1mmallory"}}`, id + " jane " + strings.Repeat("2", 40) + " [1mmallory"},
		"from behind":  {v1alpha1.WebhookGitHub, `{"after":"` + id + `","pusher":{"name":"mallory \u202eenaj\u2066"}}`, id + " mallory enaj"},
		"a preview":    {v1alpha1.WebhookGitHub, `{"ref":"refs/heads/try-it","after":"` + id + `","pusher":{"name":"mallory"}}`, ""},
		"no commit":    {v1alpha1.WebhookGitHub, `{"after":"main","pusher":{"name":"jane"}}`, ""},
		"other shapes": {v1alpha1.WebhookGitHub, `{"after":7,"pusher":["jane"]}`, ""},
		"no JSON":      {v1alpha1.WebhookGitHub, `payload=%7B%7D`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.kind)
			if status := r.call("main", c.body, senders[c.kind]("sesame", c.body, r.clock.Now())); status != http.StatusAccepted {
				t.Fatal(status)
			}
			if got := r.pushed(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestNewestPushesAreKnown: a few commits may come before the engine looks.
func TestNewestPushesAreKnown(t *testing.T) {
	t.Parallel()
	r := newRig(t, v1alpha1.WebhookGitHub)
	for _, n := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 11} {
		body := fmt.Sprintf(`{"after":"%040d","pusher":{"name":"jane %s"},"n":%d}`, n, strings.Repeat("x", 300), n)
		if status := r.call("main", body, senders[v1alpha1.WebhookGitHub]("sesame", body, r.clock.Now())); status/100 != 2 {
			t.Fatal(status)
		}
	}
	lines := strings.Split(r.pushed(), "\n")
	if len(lines) != 10 || !strings.HasPrefix(lines[0], fmt.Sprintf("%040d jane xxx", 12)) || !strings.HasPrefix(lines[9], fmt.Sprintf("%040d ", 3)) || len(lines[0]) > 241 {
		t.Errorf("%d lines: %q", len(lines), lines)
	}
}
