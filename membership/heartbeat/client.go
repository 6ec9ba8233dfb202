package heartbeat

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"

	"k8s.io/utils/clock"
)

// agentPatience is how long an agent waits for an echo before it opens another
// stream. It is shorter than a server's, who then knows of a link that has
// become one-way before its own patience ends.
const agentPatience = 2*Interval + Interval/2

// Client sends an agent's heartbeats to each of the servers: whichever of them
// judges nodes, now or after another one's end, hears them itself.
type Client struct {
	// HTTP has the node's certificate and believes the API's authority. It must
	// have no overall timeout.
	HTTP *http.Client
	// Servers gives the base URLs; it is asked again and again.
	Servers func() []string
	// Send sends a single packet to a server, by its base URL, if it can; nil:
	// no probes are sent. What a server sends back goes to Receive.
	Send func(server string, message []byte)
	// Lost is told of a server that answers neither beats nor probes; may be nil.
	Lost   func(server string)
	Clock  clock.WithTicker
	Logger *slog.Logger

	mu      sync.Mutex         // guards what follows
	probes  map[string]*prober // by server
	echoing map[string]bool    // servers whose streams work
	// heard is closed while a server echoes; nil before anybody asked or beat.
	heard chan struct{}
}

// Heard returns when a server hears the beats, or ctx ends.
func (c *Client) Heard(ctx context.Context) error {
	c.mu.Lock()
	if c.heard == nil {
		c.heard = make(chan struct{})
	}
	heard := c.heard
	c.mu.Unlock()
	select {
	case <-heard:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// echoed says that a server's stream works, or that it ended.
func (c *Client) echoed(server string, works bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.heard == nil {
		c.heard = make(chan struct{})
	}
	before := len(c.echoing) > 0
	if works {
		c.echoing[server] = true
	} else {
		delete(c.echoing, server)
	}
	switch now := len(c.echoing) > 0; {
	case now && !before:
		close(c.heard)
	case before && !now:
		c.heard = make(chan struct{})
	}
}

// Receive takes an answer to a probe.
func (c *Client) Receive(message []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.probes {
		p.receive(message) // the key says whose answer it is
	}
}

// Run keeps a stream to each server open until ctx ends.
func (c *Client) Run(ctx context.Context) error {
	c.mu.Lock()
	c.probes, c.echoing = map[string]*prober{}, map[string]bool{}
	c.mu.Unlock()
	var group sync.WaitGroup
	defer group.Wait()
	ticker := c.Clock.NewTicker(Interval / 2)
	defer ticker.Stop()
	for {
		for _, server := range c.Servers() {
			c.mu.Lock()
			_, has := c.probes[server]
			if !has {
				p := newProber(c.sender(), c.Clock)
				p.lost = func() {
					if c.Lost != nil {
						c.Lost(server)
					}
				}
				c.probes[server] = p
				group.Go(func() { p.run(ctx) })
				group.Go(func() { c.keep(ctx, server, p) })
			}
			c.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
		}
	}
}

func (c *Client) sender() func(string, []byte) {
	if c.Send == nil {
		return func(string, []byte) {}
	}
	return c.Send
}

// keep keeps a server's stream open until ctx ends.
func (c *Client) keep(ctx context.Context, server string, p *prober) {
	const longest = Interval // a server that stood still hears from all before it judges
	wait, told := Interval/4, false
	for {
		began := c.Clock.Now()
		err := c.stream(ctx, server, p)
		if ctx.Err() != nil {
			return
		}
		if c.Clock.Since(began) > Patience {
			wait, told = Interval/4, false // it has worked: come back quickly
		}
		if !told {
			told = true
			c.Logger.Info("heartbeat stream ended; opening another", "server", server, "error", err)
		}
		timer := c.Clock.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C():
		}
		wait = min(2*wait, longest)
	}
}

// stream holds one stream until it breaks or falls silent.
func (c *Client) stream(ctx context.Context, server string, p *prober) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	body, beats := io.Pipe()
	defer body.Close()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, server+Path, body)
	if err != nil {
		return err
	}
	silent := c.Clock.NewTimer(agentPatience)
	defer silent.Stop()
	stopped := make(chan struct{})
	defer func() { cancel(nil); beats.Close(); <-stopped }()
	go func() {
		defer close(stopped)
		c.beat(ctx, beats, silent, cancel)
	}()
	response, err := c.HTTP.Do(request)
	if err != nil {
		return cause(ctx, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answered %s", response.Status)
	}
	defer c.echoed(server, false)
	p.opened(server, decodeKey(response.Header.Get(keyHeader)), response.Header.Get(nodeHeader))
	echo := make([]byte, 1)
	for {
		if _, err := io.ReadFull(response.Body, echo); err != nil {
			return cause(ctx, err)
		}
		silent.Reset(agentPatience)
		p.echo()
		c.echoed(server, true)
	}
}

var errSilent = errors.New("the server is silent")

func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil {
		return c
	}
	return err
}

// beat writes a byte an interval until ctx ends or the server falls silent. It
// ends the request's body then: the transport does not look at the context
// while it waits for more of a body, and would hold the stream until the server
// gives it up.
func (c *Client) beat(ctx context.Context, w *io.PipeWriter, silent clock.Timer, cancel context.CancelCauseFunc) {
	defer func() { w.CloseWithError(cmp.Or(context.Cause(ctx), io.ErrClosedPipe)) }()
	ticker := c.Clock.NewTicker(Interval)
	defer ticker.Stop()
	for {
		if _, err := w.Write([]byte{'.'}); err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-silent.C():
			cancel(errSilent)
			return
		case <-ticker.C():
		}
	}
}
