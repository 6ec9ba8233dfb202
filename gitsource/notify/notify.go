// Package notify sends what has happened to a source to somebody outside: a
// JSON document or a line of text, signed where a key is given. It follows no
// redirects, waits ten seconds at most, and its errors never have the URL in
// them, for URLs of chats are secrets.
package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// Timeout is how long one try may take.
const Timeout = 10 * time.Second

// SignatureHeader has "sha256=" and the hexadecimal HMAC of the body.
const SignatureHeader = "X-Headway-Signature"

// Message is what is told; it is the schema of the JSON document.
type Message struct {
	Cluster string                     `json:"cluster"`
	Source  string                     `json:"source"`
	Event   v1alpha1.NotificationEvent `json:"event"`
	// Severity is info, warning or error.
	Severity v1alpha1.NotificationSeverity `json:"severity"`
	// Reason is why a commit waits: Dependency, Approval, Promotion or Window.
	Reason  string    `json:"reason,omitempty"`
	Time    time.Time `json:"time"`
	Ref     string    `json:"ref,omitempty"`
	Commit  string    `json:"commit,omitempty"`
	Author  string    `json:"author,omitempty"`
	Subject string    `json:"subject,omitempty"`
	// Text is one line for people.
	Text     string             `json:"text"`
	Problems []v1alpha1.Problem `json:"problems,omitempty"`
	// Objects that it is about, at most MaxObjects: of a commit those that it
	// changed. Absent: all of the source, or so many that they are not known.
	Objects []Object `json:"objects,omitempty"`
}

// line is a message as chats show it.
func (m *Message) line() string {
	out := fmt.Sprintf("[%s/%s] %s", m.Cluster, m.Source, m.Event)
	if m.Commit != "" {
		out += fmt.Sprintf(" %.12s", m.Commit)
	}
	if m.Subject != "" {
		out += fmt.Sprintf(" %q by %s", m.Subject, m.Author)
	}
	if m.Text != "" {
		out += ": " + m.Text
	}
	if m.Event == v1alpha1.NotifyWaiting && m.Reason != "" {
		out = strings.Replace(out, "Waiting", "Waiting ("+strings.ToLower(m.Reason)+")", 1)
	}
	// What chats take for markup.
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(out)
}

// Target is where a message goes.
type Target struct {
	Type v1alpha1.NotificationType
	URL  string
	Key  []byte // empty: unsigned
}

// Sender sends over one client.
type Sender struct{ client *http.Client }

// NewSender makes one; transport may be nil for one of its own.
func NewSender(transport http.RoundTripper) *Sender {
	if transport == nil {
		transport = &http.Transport{MaxIdleConns: 4, IdleConnTimeout: time.Minute, DisableKeepAlives: true, TLSHandshakeTimeout: Timeout}
	}
	return &Sender{&http.Client{Transport: transport, Timeout: Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// Send makes one try.
func (s *Sender) Send(ctx context.Context, to Target, m Message) error {
	var document any = m
	if to.Type == v1alpha1.NotifySlack {
		document = map[string]string{"text": m.line()}
	}
	body, err := json.Marshal(document)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	u, err := url.Parse(strings.TrimSpace(to.URL))
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return errors.New("the URL is none of https or http")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return errors.New("the URL cannot be asked")
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "headway")
	if len(to.Key) > 0 {
		mac := hmac.New(sha256.New, to.Key)
		mac.Write(body)
		r.Header.Set(SignatureHeader, "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	answer, err := s.client.Do(r)
	if err != nil {
		var at *url.Error
		if errors.As(err, &at) {
			err = at.Err
		}
		return fmt.Errorf("post: %w", err)
	}
	_, _ = io.CopyN(io.Discard, answer.Body, 4<<10) // only its status counts
	_ = answer.Body.Close()
	switch {
	case answer.StatusCode >= 300 && answer.StatusCode < 400:
		return fmt.Errorf("the answer is a redirect (%d), and none is followed", answer.StatusCode)
	case answer.StatusCode >= 400:
		return fmt.Errorf("the answer is %d", answer.StatusCode)
	}
	return nil
}
