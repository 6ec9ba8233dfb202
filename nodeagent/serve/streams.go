package serve

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

// exec runs a command in a container over a SPDY or WebSocket connection.
func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	c, options, ok := s.command(w, r)
	if !ok {
		return
	}
	command := r.URL.Query()["command"]
	if len(command) == 0 {
		http.Error(w, "you must specify at least 1 command", http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, r, process{s.Runtime}, "", "", c.ID, command, options,
		s.IdleTimeout, creation, remotecommand.SupportedStreamingProtocols)
}

// attach connects to a container's first process.
func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	c, options, ok := s.command(w, r)
	if !ok {
		return
	}
	options.TTY = c.TTY
	remotecommand.ServeAttach(w, r, process{s.Runtime}, "", "", c.ID, options,
		s.IdleTimeout, creation, remotecommand.SupportedStreamingProtocols)
}

// command finds the running container and which streams are wanted.
func (s *Server) command(w http.ResponseWriter, r *http.Request) (Container, *remotecommand.Options, bool) {
	c, ok := s.container(w, r)
	if !ok {
		return c, nil, false
	}
	if c.ID == "" || c.Ended == nil {
		http.Error(w, fmt.Sprintf("container %q in pod %q is not running", r.PathValue("container"), r.PathValue("pod")), http.StatusBadRequest)
		return c, nil, false
	}
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return c, nil, false
	}
	return c, options, true
}

// portForward carries connections to ports of the pod.
func (s *Server) portForward(w http.ResponseWriter, r *http.Request) {
	pod, ok := s.find(w, r)
	if !ok {
		return
	}
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(w, r, forwarder{s.Dial, pod.NetNS}, r.PathValue("pod"), string(pod.UID), options,
		s.IdleTimeout, creation, portforward.SupportedProtocols)
}

// process is the runtime as the streaming library wants it.
type process struct{ runtime Runtime }

var (
	_ remotecommand.Executor = process{}
	_ remotecommand.Attacher = process{}
)

func (p process) ExecInContainer(ctx context.Context, _, _, id string, command []string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, timeout time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	code, err := p.runtime.Exec(ctx, id, runtime.ExecConfig{Command: command, Timeout: timeout, Streams: streams(ctx, in, out, errs, tty, resize)})
	if err != nil {
		return err
	}
	if code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", code), Code: code}
	}
	return nil
}

func (p process) AttachContainer(ctx context.Context, _, _, id string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return p.runtime.Attach(ctx, id, streams(ctx, in, out, errs, tty, resize))
}

func streams(ctx context.Context, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) runtime.Streams {
	s := runtime.Streams{TTY: tty, Stdin: in}
	// An interface that holds a nil of the library's type is not nil.
	if out != nil {
		s.Stdout = out
	}
	if errs != nil {
		s.Stderr = errs
	}
	if resize != nil {
		sizes := make(chan runtime.TerminalSize)
		s.Resize = sizes
		go func() {
			defer close(sizes)
			for {
				select {
				case size, ok := <-resize:
					if !ok {
						return
					}
					select {
					case sizes <- runtime.TerminalSize(size):
					case <-ctx.Done():
						return
					}
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	return s
}

// forwarder carries streams to ports in a network namespace.
type forwarder struct {
	dial  Dial
	netns string
}

var _ portforward.PortForwarder = forwarder{}

func (f forwarder) PortForward(ctx context.Context, name, _ string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	connection, err := f.dial(ctx, f.netns, int(port))
	if err != nil {
		return fmt.Errorf("connect to port %d of pod %s: %w", port, name, err)
	}
	defer connection.Close()
	stop := context.AfterFunc(ctx, func() { connection.Close() })
	defer stop()
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(connection, stream)
		if half, ok := connection.(interface{ CloseWrite() error }); ok && err == nil {
			err = half.CloseWrite()
		}
		sent <- err
	}()
	_, err = io.Copy(stream, connection)
	// The pod has said all: what the client still sends goes nowhere, and its
	// copy ends with the streams.
	connection.Close()
	stream.Close()
	<-sent
	return err
}
