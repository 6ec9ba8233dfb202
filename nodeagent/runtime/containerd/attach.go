package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

var errNoStdin = errors.New("the container has no stdin")

// Attach implements runtime.Interface. Output comes from the log keeper, so an
// attached client that is slow or leaves never blocks the container.
func (r *Runtime) Attach(ctx context.Context, id string, streams runtime.Streams) error {
	m, err := r.lookup(ctx, id)
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	if streams.Stdin != nil && !m.Stdin {
		return fmt.Errorf("attach to container %q: %w", m.Name, errNoStdin)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if streams.Resize != nil {
		go (&execution{runtime: r, id: id}).resize(ctx, streams.Resize)
	}
	attached := func() {
		if streams.Stdin != nil {
			go r.feed(ctx, id, m, streams.Stdin)
		}
	}
	if err := r.config.Keeper.Tail(ctx, id, orDiscard(streams.Stdout), orDiscard(streams.Stderr), attached); err != nil {
		return fmt.Errorf("attach to container %q: %w", m.Name, err)
	}
	return nil
}

// feed copies to the container's stdin. The FIFO is opened for both ways, as
// opening it for writing alone waits for a reader that may never come.
func (r *Runtime) feed(ctx context.Context, id string, m *meta, from io.Reader) {
	fifo, err := os.OpenFile(r.ioPath(id, "in"), os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		r.log.Warn("open stdin", "container", id, "error", err)
		return
	}
	defer func() { _ = fifo.Close() }() // a pipe buffers nothing of ours
	stop := context.AfterFunc(ctx, func() { _ = fifo.Close() })
	defer stop()
	if _, err := io.Copy(fifo, from); err != nil && !errors.Is(err, os.ErrClosed) {
		r.log.Debug("copy stdin", "container", id, "error", err)
	}
	if m.StdinOnce {
		(&execution{runtime: r, id: id}).closeStdin(ctx)
	}
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}
