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

// Client sends an agent's heartbeats to one of the servers, and to the next
// one when that falls silent.
type Client struct {
	// HTTP has the node's certificate and believes the API's authority. It must
	// have no overall timeout.
	HTTP *http.Client
	// Servers gives the base URLs to try, in order of preference; it is asked
	// anew for every stream.
	Servers func() []string
	// Send sends a single packet to a server, by its base URL, if it can; nil:
	// no probes are sent. What a server sends back goes to Receive.
	Send   func(server string, message []byte)
	Clock  clock.WithTicker
	Logger *slog.Logger

	mu     sync.Mutex // guards what follows
	probes *prober    // nil before Run
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

// echoed says that a stream works, or that it ended.
func (c *Client) echoed(works bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.heard == nil {
		c.heard = make(chan struct{})
	}
	select {
	case <-c.heard:
		if !works {
			c.heard = make(chan struct{})
		}
	default:
		if works {
			close(c.heard)
		}
	}
}

// Receive takes an answer to a probe.
func (c *Client) Receive(message []byte) {
	c.mu.Lock()
	p := c.probes
	c.mu.Unlock()
	if p != nil {
		p.receive(message)
	}
}

// Run keeps a stream open until ctx ends.
func (c *Client) Run(ctx context.Context) error {
	send := c.Send
	if send == nil {
		send = func(string, []byte) {}
	}
	c.mu.Lock()
	c.probes = newProber(send, c.Clock)
	c.mu.Unlock()
	var group sync.WaitGroup
	group.Go(func() { c.probes.run(ctx) })
	defer group.Wait()
	const longest = Interval // a server that stood still hears from all before it judges
	wait := Interval / 4
	for n := 0; ; n++ {
		servers := c.Servers()
		if len(servers) > 0 {
			began := c.Clock.Now()
			err := c.stream(ctx, servers[n%len(servers)])
			if ctx.Err() != nil {
				return nil
			}
			if c.Clock.Since(began) > Patience {
				wait = Interval / 4 // it has worked: come back quickly
			}
			c.Logger.Info("heartbeat stream ended; opening another", "server", servers[n%len(servers)], "error", err)
		}
		timer := c.Clock.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C():
		}
		wait = min(2*wait, longest)
	}
}

// stream holds one stream until it breaks or falls silent.
func (c *Client) stream(ctx context.Context, server string) error {
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
	defer c.echoed(false)
	c.probes.opened(server, decodeKey(response.Header.Get(keyHeader)), response.Header.Get(nodeHeader))
	echo := make([]byte, 1)
	for {
		if _, err := io.ReadFull(response.Body, echo); err != nil {
			return cause(ctx, err)
		}
		silent.Reset(agentPatience)
		c.probes.echo()
		c.echoed(true)
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
