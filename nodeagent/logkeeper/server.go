package logkeeper

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
)

const (
	opPing   = "ping"
	opAdd    = "add"
	opRemove = "remove"
	opRotate = "rotate"
	opList   = "list"
	opTail   = "tail"
)

type request struct {
	Operation string    `json:"op"`
	Container Container `json:"container"`
}

type response struct {
	Error      string      `json:"error,omitempty"`
	Containers []Container `json:"containers,omitempty"`
}

// maxRequest bounds one line of the protocol.
const maxRequest = 64 << 10

// serve answers on the socket until ctx ends, and waits for its goroutines.
func (k *keeper) serve(ctx context.Context, socket string) error {
	listener, err := listen(ctx, socket)
	if err != nil {
		return err
	}
	var (
		running sync.WaitGroup
		mu      sync.Mutex // guards open
		open    = map[net.Conn]struct{}{}
	)
	stop := context.AfterFunc(ctx, func() {
		_ = listener.Close() // makes Accept return
		mu.Lock()
		defer mu.Unlock()
		for conn := range open {
			_ = conn.Close() // ends its goroutine
		}
	})
	defer stop()
	defer running.Wait()
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		mu.Lock()
		open[conn] = struct{}{}
		mu.Unlock()
		running.Go(func() {
			k.converse(ctx, conn)
			mu.Lock()
			defer mu.Unlock()
			delete(open, conn)
			_ = conn.Close() // the other side has left or gets no more
		})
	}
}

func listen(ctx context.Context, socket string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o711); err != nil {
		return nil, fmt.Errorf("make socket directory: %w", err)
	}
	// The state's lock is held, so a socket that is there is a dead keeper's.
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		_ = listener.Close() // nothing was accepted
		return nil, fmt.Errorf("protect socket: %w", err)
	}
	return listener, nil
}

func (k *keeper) converse(ctx context.Context, conn net.Conn) {
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, maxRequest)
	answers := json.NewEncoder(conn)
	for lines.Scan() {
		var r request
		err := json.Unmarshal(lines.Bytes(), &r)
		if err == nil && r.Operation == opTail {
			k.tail(ctx, conn, r.Container.ID, answers)
			return
		}
		var answer response
		if err == nil {
			answer, err = k.handle(ctx, r)
		}
		if err != nil {
			answer.Error = err.Error()
		}
		if answers.Encode(answer) != nil {
			return
		}
	}
}

func (k *keeper) tail(ctx context.Context, conn net.Conn, id string, answers *json.Encoder) {
	c, err := k.find(id)
	if err != nil {
		_ = answers.Encode(response{Error: err.Error()}) // the client has left if this fails
		return
	}
	t := newTail()
	c.attach(t)
	defer c.detach(t)
	stop := context.AfterFunc(ctx, t.close)
	defer stop()
	if answers.Encode(response{}) != nil {
		return
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		// The client sends nothing more: reading ends when it leaves.
		_, _ = conn.Read(make([]byte, 1))
		t.close()
	})
	_ = t.copyTo(conn) // the client has left if this fails
	_ = conn.Close()   // ends the reading goroutine
	reading.Wait()
}
