package remote

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
)

// Config is what a Client is made of.
type Config struct {
	// URL of the server, and an HTTP client that authenticates to it.
	URL  string
	HTTP *http.Client
	// Identity is the name that the server knows the client by. Calls under
	// another identity are made by impersonation, which the server authorizes.
	Identity string
	// Scheme has the types of the objects; others are unstructured.
	Scheme *runtime.Scheme
	// Resources are what Views show; reading any other resource panics, as
	// "nothing there" would be a lie.
	Resources []schema.GroupResource
	// Indexes are those that EachIndexed is asked for.
	Indexes map[schema.GroupResource]map[string]func(txn.Object) []string
}

// Client is txn.Interface over HTTPS. It is safe for concurrent use.
type Client struct {
	config Config
	codec  Codec
}

var _ txn.Interface = (*Client)(nil)

// New makes a client.
func New(c Config) (*Client, error) {
	if c.HTTP == nil || c.Scheme == nil {
		return nil, errors.New("transaction client: HTTP and Scheme are required")
	}
	if _, err := url.Parse(c.URL); err != nil || c.URL == "" {
		return nil, fmt.Errorf("transaction client: URL %q: %w", c.URL, err)
	}
	c.URL = strings.TrimSuffix(c.URL, "/")
	return &Client{config: c, codec: Codec{c.Scheme}}, nil
}

// send makes one call; the caller closes the answer's body.
func (c *Client) send(ctx context.Context, method, call string, identity txn.Identity, question any) (*http.Response, error) {
	body, err := json.Marshal(question)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", call, err)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.config.URL+Path+"/"+call, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	c.impersonate(r.Header, identity)
	answer, err := c.config.HTTP.Do(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", call, err)
	}
	if answer.StatusCode < 300 {
		return answer, nil
	}
	defer answer.Body.Close()
	var status metav1.Status
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err == nil && json.Unmarshal(text, &status) == nil && status.Kind == "Status" {
		return nil, DecodeError(&status)
	}
	return nil, fmt.Errorf("%s: %s: %.200q", call, answer.Status, text)
}

func (c *Client) impersonate(header http.Header, identity txn.Identity) {
	if identity.Name == "" || identity.Name == c.config.Identity {
		return
	}
	header.Set("Impersonate-User", identity.Name)
	if identity.UID != "" {
		header.Set("Impersonate-Uid", identity.UID)
	}
	for _, g := range identity.Groups {
		header.Add("Impersonate-Group", g)
	}
	for key, values := range identity.Extra {
		for _, v := range values {
			header.Add("Impersonate-Extra-"+url.PathEscape(key), v)
		}
	}
}

// call makes one call with one answer.
func (c *Client) call(ctx context.Context, name string, identity txn.Identity, question, answer any) error {
	response, err := c.send(ctx, http.MethodPost, name, identity, question)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		return fmt.Errorf("decode the answer to %s: %w", name, err)
	}
	return nil
}

// View fetches the client's resources at one revision.
func (c *Client) View(ctx context.Context) (txn.View, error) {
	response, err := c.send(ctx, http.MethodPost, "view", txn.Identity{}, View{Resources: c.config.Resources})
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	lines := json.NewDecoder(bufio.NewReaderSize(response.Body, 64<<10))
	v := newView(c.config)
	for {
		var line ViewLine
		if err := lines.Decode(&line); err != nil {
			return nil, fmt.Errorf("read the view: %w", err)
		}
		switch {
		case line.Complete:
			return v, nil
		case line.Revision != 0:
			v.revision = line.Revision
		default:
			o, err := c.codec.Decode(line.Object, false)
			if err != nil {
				return nil, fmt.Errorf("read the view: %w", err)
			}
			v.add(line.Resource, o)
		}
	}
}

// Plan asks the server what the changes would do on its newest state, which is
// the View's or a newer one; the Result says which. It cannot plan on top of
// pending changes, which only the caller has.
func (c *Client) Plan(ctx context.Context, on txn.View, identity txn.Identity, changes []txn.Change) (*txn.Result, error) {
	if _, ok := on.(*view); !ok {
		return nil, errors.New("plan: over HTTPS, plans are made on a View of the server's, not on pending changes")
	}
	question := make([]Change, len(changes))
	for i, change := range changes {
		var err error
		if question[i], err = c.codec.EncodeChange(change); err != nil {
			return nil, err
		}
	}
	var answer Plan
	if err := c.call(ctx, "plan", identity, question, &answer); err != nil {
		return nil, err
	}
	if len(answer.Outcomes) != len(changes) {
		return nil, fmt.Errorf("plan: %d outcomes for %d changes", len(answer.Outcomes), len(changes))
	}
	result := &txn.Result{Revision: answer.Revision, Identity: identity, Compares: answer.Compares, Outcomes: make([]txn.Outcome, len(changes))}
	for i, o := range answer.Outcomes {
		before, err := c.codec.Decode(o.Before, false)
		if err != nil {
			return nil, err
		}
		after, err := c.codec.Decode(o.After, false)
		if err != nil {
			return nil, err
		}
		result.Outcomes[i] = txn.Outcome{Change: changes[i], Operation: o.Operation, Before: before, After: after, Warnings: o.Warnings, Err: DecodeError(o.Err)}
	}
	return result, nil
}

// Commit has the server plan once more and write, if nothing has changed.
func (c *Client) Commit(ctx context.Context, result *txn.Result, options txn.CommitOptions) (*txn.Committed, error) {
	if err := result.Err(); err != nil && !options.Independent {
		return nil, err
	}
	question := Commit{Compares: result.Compares, Epoch: options.Epoch, Independent: options.Independent, Notes: options.Notes}
	for _, o := range result.Outcomes {
		change, err := c.codec.EncodeChange(o.Change)
		if err != nil {
			return nil, err
		}
		planned := Planned{Operation: o.Operation}
		if o.Before != nil {
			planned.Before = o.Before.GetResourceVersion()
		}
		question.Changes, question.Planned = append(question.Changes, change), append(question.Planned, planned)
	}
	var answer Committed
	if err := c.call(ctx, "commit", result.Identity, question, &answer); err != nil {
		return nil, err
	}
	switch {
	case answer.EpochOver:
		return nil, txn.ErrEpoch
	case len(answer.Conflict) > 0:
		return nil, &txn.ConflictError{Refs: answer.Conflict}
	}
	done := &txn.Committed{Revision: answer.Revision, Objects: make([]txn.Object, len(answer.Objects)), Failed: map[int]error{}}
	for i, raw := range answer.Objects {
		var err error
		if done.Objects[i], err = c.codec.Decode(raw, false); err != nil {
			return nil, err
		}
	}
	for i, f := range answer.Failed {
		if done.Failed[i] = DecodeError(f.Status); f.Status == nil {
			done.Failed[i] = &txn.ConflictError{Refs: f.Conflict}
		}
	}
	return done, nil
}

// Notes reads the notes below a prefix.
func (c *Client) Notes(ctx context.Context, prefix string) ([]txn.Note, error) {
	var answer []txn.Note
	err := c.call(ctx, "notes", txn.Identity{}, Notes{Prefix: prefix}, &answer)
	return answer, err
}

// Acquire begins a new epoch.
func (c *Client) Acquire(ctx context.Context, name string) (txn.Epoch, error) {
	var answer txn.Epoch
	err := c.call(ctx, "acquire", txn.Identity{}, Acquire{Name: name}, &answer)
	return answer, err
}

// Guard panics: a guard decides inside the write path, so it has to be
// registered in the server's process. One that is registered here would not
// guard anything, and nobody would notice.
func (c *Client) Guard(txn.Guard) (remove func()) {
	panic("txn/remote: guards cannot be registered over HTTPS; register them in the API server's process")
}
