package network

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strconv"

	"github.com/vishvananda/netns"
)

// Dial connects to a port of the loopback address in a network namespace; an
// empty path is the node's own.
func Dial(ctx context.Context, path string, port int) (net.Conn, error) {
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	var d net.Dialer
	if path == "" {
		return d.DialContext(ctx, "tcp4", address)
	}
	type result struct {
		connection net.Conn
		err        error
	}
	done := make(chan result, 1)
	go func() {
		// The thread is in the namespace: it is never given back.
		runtime.LockOSThread()
		space, err := netns.GetFromPath(path)
		if err != nil {
			done <- result{nil, fmt.Errorf("open network namespace: %w", err)}
			return
		}
		defer space.Close()
		if err := netns.Set(space); err != nil {
			done <- result{nil, fmt.Errorf("enter network namespace: %w", err)}
			return
		}
		connection, err := d.DialContext(ctx, "tcp4", address)
		done <- result{connection, err}
	}()
	r := <-done
	return r.connection, r.err
}
