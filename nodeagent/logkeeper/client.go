package logkeeper

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// Client talks to a keeper. It holds one connection for short requests and
// opens it again when the keeper was restarted; it is safe for concurrent use.
type Client struct {
	socket string

	mu   sync.Mutex // guards conn and in: one request at a time
	conn net.Conn
	in   *bufio.Reader
}

// NewClient returns a client of the keeper at the socket; it connects when needed.
func NewClient(socket string) *Client { return &Client{socket: socket} }

// Close ends the connection.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.disconnect()
	return nil
}

// Ping asks whether the keeper works.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.do(ctx, request{Operation: opPing})
	return err
}

// Add makes the container's FIFOs and keeps what comes out of them; one that
// is kept already is success.
func (c *Client) Add(ctx context.Context, container Container) error {
	_, err := c.do(ctx, request{Operation: opAdd, Container: container})
	return err
}

// Remove returns when everything the container wrote is in its log; the FIFOs
// are then gone. One that is not kept is success.
func (c *Client) Remove(ctx context.Context, id string) error {
	_, err := c.do(ctx, request{Operation: opRemove, Container: Container{ID: id}})
	return err
}

// Rotate starts a new log file now.
func (c *Client) Rotate(ctx context.Context, id string) error {
	_, err := c.do(ctx, request{Operation: opRotate, Container: Container{ID: id}})
	return err
}

// List gives what is kept, by ID.
func (c *Client) List(ctx context.Context) ([]Container, error) {
	answer, err := c.do(ctx, request{Operation: opList})
	return answer.Containers, err
}

func (c *Client) do(ctx context.Context, r request) (response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	reused := c.conn != nil
	answer, err := c.roundTrip(ctx, r)
	if err != nil && reused && ctx.Err() == nil {
		// The keeper was restarted since the last request; all are idempotent.
		answer, err = c.roundTrip(ctx, r)
	}
	if err != nil {
		return response{}, fmt.Errorf("log keeper %s: %w", r.Operation, err)
	}
	if answer.Error != "" {
		return answer, fmt.Errorf("log keeper %s: %s", r.Operation, answer.Error)
	}
	return answer, nil
}

func (c *Client) roundTrip(ctx context.Context, r request) (response, error) {
	if c.conn == nil {
		conn, err := c.dial(ctx)
		if err != nil {
			return response{}, err
		}
		c.conn, c.in = conn, bufio.NewReader(conn)
	}
	conn := c.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // ends the exchange below
	defer stop()
	answer, err := exchange(conn, c.in, r)
	if err != nil {
		c.disconnect()
		return response{}, errors.Join(err, ctx.Err())
	}
	return answer, nil
}

func exchange(conn net.Conn, in *bufio.Reader, r request) (response, error) {
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		return response{}, err
	}
	line, err := in.ReadBytes('\n')
	if err != nil {
		return response{}, err
	}
	var answer response
	err = json.Unmarshal(line, &answer)
	return answer, err
}

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	var dialer net.Dialer
	return dialer.DialContext(ctx, "unix", c.socket)
}

func (c *Client) disconnect() {
	if c.conn != nil {
		_ = c.conn.Close() // every request was answered or has failed
		c.conn = nil
	}
}

// Tail copies what the container writes from now on until it is removed, ctx
// ends or a writer fails. attached is called once output flows. A reader that
// falls more than a mebibyte behind is cut off: the container must not wait.
func (c *Client) Tail(ctx context.Context, id string, stdout, stderr io.Writer, attached func()) error {
	conn, err := c.dial(ctx)
	if err != nil {
		return fmt.Errorf("log keeper tail: %w", err)
	}
	defer func() { _ = conn.Close() }() // tells the keeper that we leave
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	in := bufio.NewReader(conn)
	answer, err := exchange(conn, in, request{Operation: opTail, Container: Container{ID: id}})
	if err == nil && answer.Error != "" {
		err = errors.New(answer.Error)
	}
	if err != nil {
		return fmt.Errorf("log keeper tail: %w", errors.Join(err, ctx.Err()))
	}
	if attached != nil {
		attached()
	}
	return copyFrames(ctx, in, stdout, stderr)
}

func copyFrames(ctx context.Context, in io.Reader, stdout, stderr io.Writer) error {
	var buffer []byte
	for {
		kind, data, err := readFrame(in, buffer)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("log keeper tail: %w", err)
		}
		to := stdout
		if kind == frameStderr {
			to = stderr
		}
		if to != nil {
			if _, err := to.Write(data); err != nil {
				return fmt.Errorf("log keeper tail: %w", err)
			}
		}
		buffer = data
	}
}
