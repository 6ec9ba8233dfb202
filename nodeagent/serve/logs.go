package serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/headway-sh/headway/nodeagent/logs"
)

// logs answers with a container's log as text.
func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	options, err := logOptions(query, time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	c, ok := s.container(w, r)
	if !ok {
		return
	}
	path := c.LogPath
	if query.Get("previous") == "true" {
		if c.PreviousLogPath == "" {
			http.Error(w, fmt.Sprintf("previous terminated container %q in pod %q not found", r.PathValue("container"), r.PathValue("pod")), http.StatusBadRequest)
			return
		}
		path, options.Follow = c.PreviousLogPath, false
	} else {
		options.Ended = c.Ended
		drained(r.Context(), c.Draining)
	}
	if path == "" {
		http.Error(w, fmt.Sprintf("container %q in pod %q is waiting to start", r.PathValue("container"), r.PathValue("pod")), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	out := &flusher{w: w}
	if options.Follow {
		out.flush = http.NewResponseController(w).Flush
		_ = out.flush() // the client learns at once that its stream is there
	}
	err = logs.Read(r.Context(), path, options, out, out)
	switch {
	case err == nil:
	case errors.Is(err, os.ErrNotExist) && !out.written:
		// Nothing was written by the container yet, or it was cleaned away.
		if options.Ended == nil {
			http.Error(w, fmt.Sprintf("log of container %q is not there any more", r.PathValue("container")), http.StatusNotFound)
		}
	default:
		s.Logger.Warn("log not served", "pod", r.PathValue("namespace")+"/"+r.PathValue("pod"), "err", err)
	}
}

// drainTime is how long the rest of a log is waited for.
const drainTime = 5 * time.Second

// drained returns when the log of a container that has ended is complete.
func drained(ctx context.Context, draining <-chan struct{}) {
	if draining == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	select {
	case <-draining:
	case <-ctx.Done():
	}
}

// flusher sends what is written at once if flush is set.
type flusher struct {
	w       http.ResponseWriter
	flush   func() error
	written bool
}

func (f *flusher) Write(p []byte) (int, error) {
	f.written = true
	n, err := f.w.Write(p)
	if err == nil && f.flush != nil {
		err = f.flush()
	}
	return n, err
}

func logOptions(query url.Values, now time.Time) (logs.Options, error) {
	o := logs.Options{Tail: -1}
	o.Follow = query.Get("follow") == "true"
	o.Timestamps = query.Get("timestamps") == "true"
	number := func(name string, least int64, set func(int64)) error {
		text := query.Get(name)
		if text == "" {
			return nil
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < least {
			return fmt.Errorf("%s: %q is not a number from %d", name, text, least)
		}
		set(n)
		return nil
	}
	err := errors.Join(
		number("tailLines", 0, func(n int64) { o.Tail = n }),
		number("limitBytes", 1, func(n int64) { o.Limit = n }),
		number("sinceSeconds", 1, func(n int64) { o.Since = now.Add(-time.Duration(n) * time.Second) }),
	)
	switch stream := query.Get("stream"); {
	case stream == "" || stream == "All" || err != nil:
	case stream != string(logs.Stdout) && stream != string(logs.Stderr):
		return o, fmt.Errorf("stream: %q is none of All, Stdout, Stderr", stream)
	case o.Tail >= 0:
		return o, errors.New("tailLines and a specific stream cannot be specified together")
	default:
		o.Stream = logs.Stream(stream)
	}
	if text := query.Get("sinceTime"); text != "" && err == nil {
		if !o.Since.IsZero() {
			return o, errors.New("at most one of sinceTime or sinceSeconds may be specified")
		}
		o.Since, err = time.Parse(time.RFC3339, text)
	}
	return o, err
}
