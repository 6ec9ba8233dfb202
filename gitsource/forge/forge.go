package forge

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

const (
	timeout = 10 * time.Second
	// maxAnswer is how much of an answer is read; a page of comments is long.
	maxAnswer = 8 << 20
	maxError  = 4 << 10
	// perPage and maxPages bound the comments that are looked through.
	perPage  = 100
	maxPages = 20
	maxQuiet = time.Hour
	// MaxComment is the longest comment that every forge takes, in bytes.
	MaxComment = 60_000
)

// State is how far a commit has come.
type State string

const (
	// Pending says that it is on its way.
	Pending State = "pending"
	// Success says that it is applied and healthy.
	Success State = "success"
	// Failure says that it is not, and will not be by itself.
	Failure State = "failure"
	// Gone says that a newer commit took its place before it came to an end.
	Gone State = "gone"
)

// Status is one commit's status.
type Status struct {
	Commit      string `json:"-"`
	Context     string `json:"-"`
	State       State  `json:"state"`
	Description string `json:"description"`
	TargetURL   string `json:"targetURL,omitempty"`
}

// Target is a repository on a forge and how to talk to it.
type Target struct {
	Type v1alpha1.ForgeType
	// URL of the forge, without a slash at its end.
	URL string
	// Repository, as "team/shop".
	Repository string
	Token      string
	// CABundle, when not empty, replaces the system's certificates.
	CABundle []byte
	// Proxy is the URL of a proxy; empty: that of the environment.
	Proxy string
	// Called, when not nil, is told of each call: the answer's status, or 0 for
	// none, and how long it took. It must not block.
	Called func(status int, took time.Duration)
}

// Client talks to one repository's forge. It is safe for concurrent use.
type Client struct {
	http    *http.Client
	dialect *dialect
	api     string // of the repository
	token   string
	called  func(status int, took time.Duration)
}

// New makes a Client. Nothing is sent.
func New(t Target) (*Client, error) {
	d := dialects[t.Type]
	base, err := url.Parse(t.URL)
	switch {
	case d == nil:
		return nil, fmt.Errorf("the forge type %q is not known", t.Type)
	case err != nil || base.Scheme != "https" || base.Host == "":
		return nil, errors.New("the forge's address is not an https URL")
	case t.Repository == "":
		return nil, errors.New("which repository of the forge it is is not known")
	case t.Token == "":
		return nil, errors.New("there is no token")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(t.CABundle) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(t.CABundle) {
			return nil, errors.New("the certificate authority is not PEM")
		}
	}
	proxy := http.ProxyFromEnvironment
	if t.Proxy != "" {
		at, err := url.Parse(t.Proxy)
		if err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" && at.Scheme != "socks5" {
			return nil, errors.New("the proxy is no http, https or socks5 URL")
		}
		proxy = http.ProxyURL(at)
	}
	called := t.Called
	if called == nil {
		called = func(int, time.Duration) {}
	}
	return &Client{
		called: called, dialect: d, token: t.Token, api: d.root(base) + d.repository(t.Repository),
		http: &http.Client{
			Transport: &http.Transport{Proxy: proxy, TLSClientConfig: config, ForceAttemptHTTP2: true, DisableKeepAlives: true},
			// A redirect would carry the token or lose the request's body.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// PageURL is where a forge shows a file of a branch.
func PageURL(t Target, branch, file string) string {
	d := dialects[t.Type]
	if d == nil || t.Repository == "" {
		return ""
	}
	return t.URL + "/" + escaped(t.Repository) + d.page(branch, file)
}

// SetStatus sets a commit's status. Doing so twice does no harm.
func (c *Client) SetStatus(ctx context.Context, s Status) error {
	path, body := c.dialect.status(s)
	err := c.call(ctx, http.MethodPost, path, body, nil)
	var refused *Error
	if errors.As(err, &refused) && c.dialect.done(refused.Status, refused.Message) {
		return nil
	}
	return err
}

type comment struct {
	ID   int64  `json:"id"`
	Body string `json:"body"`
}

// Comment brings the one comment of a pull request that begins with a marker
// to a body, which begins with it too. known is the comment's id where it is
// known, else 0; the id that it has is given. The oldest one with the marker
// counts: who copies the marker is too late.
func (c *Client) Comment(ctx context.Context, number int, known int64, marker, body string) (int64, error) {
	send := map[string]string{"body": body}
	if known == 0 {
		var err error
		if known, err = c.find(ctx, number, marker); err != nil {
			return 0, err
		}
	}
	if known != 0 {
		err := c.call(ctx, c.dialect.edit, c.dialect.comment(number, known), send, nil)
		var refused *Error
		if !errors.As(err, &refused) || refused.Status != http.StatusNotFound {
			return known, err
		}
		// Somebody has deleted it.
	}
	var made comment
	err := c.call(ctx, http.MethodPost, c.dialect.comments(number), send, &made)
	return made.ID, err
}

func (c *Client) find(ctx context.Context, number int, marker string) (int64, error) {
	var found, last int64
	for page := 1; page <= maxPages; page++ {
		var comments []comment
		path := fmt.Sprintf("%s?per_page=%d&limit=%d&page=%d&sort=asc&order_by=created_at", c.dialect.comments(number), perPage, perPage, page)
		if err := c.call(ctx, http.MethodGet, path, nil, &comments); err != nil {
			return 0, err
		}
		for _, one := range comments {
			if strings.HasPrefix(one.Body, marker) && (found == 0 || one.ID < found) {
				found = one.ID
			}
		}
		// Some forges give everything, whatever page is asked for.
		if len(comments) != perPage || comments[0].ID == last {
			break
		}
		last = comments[0].ID
	}
	return found, nil
}

// call makes one call and reads its answer into out, unless that is nil.
func (c *Client) call(ctx context.Context, method, path string, body, out any) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.api+path, content)
	if err != nil {
		return err
	}
	c.dialect.authorize(req.Header, c.token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "headway")
	begun := time.Now()
	res, err := c.http.Do(req)
	if err != nil {
		c.called(0, time.Since(begun))
		return fmt.Errorf("call the forge: %w", err)
	}
	defer res.Body.Close()
	c.called(res.StatusCode, time.Since(begun))
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return c.refusal(res)
	}
	if out == nil {
		return nil
	}
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("read the forge's answer: %w", err)
	case len(answer) > maxAnswer:
		return fmt.Errorf("the forge's answer is over %d bytes", maxAnswer)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("read the forge's answer: %w", err)
	}
	return nil
}

// Error is a refusal.
type Error struct {
	Status  int
	Message string
	// After is how long the forge wants to be left alone; 0: it does not say.
	After time.Duration
}

func (e *Error) Error() string {
	return fmt.Sprintf("the forge says %d %s: %s", e.Status, http.StatusText(e.Status), e.Message)
}

// Lasting tells whether the same call would be refused again: nothing but the
// token, its rights or the settings help.
func (e *Error) Lasting() bool {
	return e.After == 0 && e.Status < 500 && e.Status != http.StatusTooManyRequests && e.Status != http.StatusRequestTimeout
}

func (c *Client) refusal(res *http.Response) error {
	head, err := io.ReadAll(io.LimitReader(res.Body, maxError))
	if err != nil {
		head = nil // the status says enough
	}
	var said struct {
		Message any `json:"message"`
		Error   any `json:"error"`
	}
	message := string(head)
	if json.Unmarshal(head, &said) == nil {
		switch {
		case said.Message != nil:
			message = fmt.Sprint(said.Message)
		case said.Error != nil:
			message = fmt.Sprint(said.Error)
		}
	}
	if to := res.Header.Get("Location"); to != "" && res.StatusCode < 400 {
		message = "it redirects, which is not followed: correct the forge's URL or the repository"
	}
	message = strings.Join(strings.Fields(strings.ToValidUTF8(strings.ReplaceAll(message, c.token, "(token)"), "?")), " ")
	return &Error{Status: res.StatusCode, Message: cut(message, 300), After: quiet(res.Header, time.Now())}
}

// quiet reads how long a forge wants to be left alone: Retry-After in seconds
// or as a date, or what GitHub says of a spent quota.
func quiet(h http.Header, now time.Time) time.Duration {
	after := h.Get("Retry-After")
	if seconds, err := strconv.ParseInt(after, 10, 32); err == nil && seconds > 0 {
		return min(time.Duration(seconds)*time.Second, maxQuiet)
	}
	if at, err := http.ParseTime(after); err == nil && at.After(now) {
		return min(at.Sub(now), maxQuiet)
	}
	for _, prefix := range []string{"X-RateLimit-", "RateLimit-"} {
		if reset, err := strconv.ParseInt(h.Get(prefix+"Reset"), 10, 64); err == nil && h.Get(prefix+"Remaining") == "0" {
			return min(max(time.Unix(reset, 0).Sub(now), time.Second), maxQuiet)
		}
	}
	return 0
}
