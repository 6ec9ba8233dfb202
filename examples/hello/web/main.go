// Command web is the example's web server: it says who it is.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const patience = 3 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, cmp.Or(os.Getenv("LISTEN"), ":8080")); err != nil {
		slog.Error("serve", "error", err)
		os.Exit(1)
	}
}

func serve(ctx context.Context, address string) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	server := &http.Server{Addr: address, Handler: handler(cmp.Or(os.Getenv("GREETING"), "hello"), host), ReadHeaderTimeout: patience}
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		// Requests that are under way are answered first.
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		stopped <- server.Shutdown(last)
	})
	slog.Info("listening", "address", address)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

func handler(greeting, host string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		slog.Info("request", "path", r.URL.Path, "from", r.RemoteAddr)
		fmt.Fprintf(w, "%s (%s)\n", greeting, host)
	})
	return mux
}
