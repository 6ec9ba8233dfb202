// Command peer is what the tests run in pods: a web server that tells its name,
// a client, and what uses a processor or keeps data.
//
//	peer serve :PORT           tells its name, and on /client whose address it sees, until it is told to end
//	peer keep FILE :PORT       adds its name to a file, and tells what is in it
//	peer get URL
//	peer lookup NAME
//	peer load DURATION URL     gets it over and over, and tells what became of it
//	peer burn                  uses a whole processor
//	peer wait DURATION         does nothing, and ends well
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// patience is how long a client waits for an answer.
const patience = 3 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	args = append(args, "", "", "")
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	switch args[0] {
	case "serve":
		return serve(ctx, args[1], func() ([]byte, error) { return []byte(name), nil })
	case "keep":
		return keep(ctx, name, args[1], args[2])
	case "get":
		text, err := get(ctx, http.DefaultClient, args[1])
		_, _ = os.Stdout.Write(text) // who asked sees what it says
		return err
	case "lookup":
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		addresses, err := net.DefaultResolver.LookupHost(ctx, args[1])
		fmt.Println(addresses)
		return err
	case "load":
		return load(ctx, args[1], args[2])
	case "burn":
		for ctx.Err() == nil {
		}
		return nil
	case "wait":
		d, err := time.ParseDuration(args[1])
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(d):
			return nil
		}
	}
	return fmt.Errorf("unknown verb %q", args[0])
}

// serve answers until it is told to end, and then finishes what it has begun.
func serve(ctx context.Context, address string, answer func() ([]byte, error)) error {
	server := &http.Server{Addr: address, ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := answer()
		if client, _, ok := strings.Cut(r.RemoteAddr, ":"); ok && r.URL.Path == "/client" {
			text = []byte(client)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(text) // the client has gone
	})}
	done := make(chan error, 1)
	go func() { done <- server.ListenAndServe() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return server.Shutdown(ctx)
}

func keep(ctx context.Context, name, file, address string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, name)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return serve(ctx, address, func() ([]byte, error) { return os.ReadFile(file) })
}

func get(ctx context.Context, c *http.Client, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := c.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	return text, err
}

// load gets a URL over and over, each time by a connection of its own, and
// fails when one was not answered.
func load(ctx context.Context, duration, url string) error {
	d, err := time.ParseDuration(duration)
	if err != nil {
		return err
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	good, names := 0, map[string]int{}
	var failed []error
	for end := time.Now().Add(d); time.Now().Before(end) && ctx.Err() == nil; {
		text, err := get(ctx, c, url)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", time.Now().Format(time.TimeOnly), err))
			continue
		}
		good++
		names[string(text)]++
	}
	fmt.Printf("%d answered by %d pods, %d not\n", good, len(names), len(failed))
	return errors.Join(failed...)
}
