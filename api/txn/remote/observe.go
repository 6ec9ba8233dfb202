package remote

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/headway-sh/headway/api/txn"
)

// retryAfter is how long an observer waits before it connects again.
const retryAfter = time.Second

// Observe follows the server's writes until stop is called. When the
// connection breaks it is made again, and f gets a zero Write for the gap.
func (c *Client) Observe(f func(txn.Write)) (stop func()) {
	// The contract has no context here: stop is what ends the goroutine.
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if c.observe(ctx, f) == nil {
				continue
			}
			select {
			case <-ctx.Done():
			case <-time.After(retryAfter):
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// observe follows one connection until it breaks. Its first line is the
// server's word that observing has begun; whatever happened before is a gap.
func (c *Client) observe(ctx context.Context, f func(txn.Write)) error {
	response, err := c.send(ctx, http.MethodGet, "observe", txn.Identity{}, struct{}{})
	if err != nil {
		return err
	}
	defer response.Body.Close()
	lines := json.NewDecoder(response.Body)
	for {
		var line WriteLine
		if err := lines.Decode(&line); err != nil {
			return fmt.Errorf("read observed writes: %w", err)
		}
		w, err := c.write(line)
		if err != nil {
			return err
		}
		f(w)
	}
}

func (c *Client) write(line WriteLine) (txn.Write, error) {
	if line.Revision == 0 {
		return txn.Write{}, nil
	}
	before, err := c.codec.Decode(line.Before, false)
	if err != nil {
		return txn.Write{}, err
	}
	after, err := c.codec.Decode(line.After, false)
	if err != nil {
		return txn.Write{}, err
	}
	return txn.Write{Identity: line.Identity, Ref: line.Ref, Subresource: line.Subresource, FieldManager: line.FieldManager,
		Before: before, After: after, Revision: line.Revision, Time: line.Time}, nil
}
