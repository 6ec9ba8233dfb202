// Command api measures the API server of the built binary from outside, over
// HTTPS, with nothing else running in it: CPU time by operation, lists,
// watches and memory. It needs no root and leaves nothing behind.
//
//	go build -o bin/headway ./cmd/headway && go run ./test/bench/api [-only pods,list]
//
// Every client has a connection of its own. CPU time is the server process's
// (API and storage are one), read from /proc around each round; what a busy
// machine does to it is a warmer or colder cache, while wall times move with
// the load.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/headway-sh/headway/test/bench/figure"
)

// options are the program's flags.
type options struct {
	binary, only            string
	clients, pods, rounds   int
	watchers                int
	seconds                 int
	keep, verbose, profiles bool
}

func main() {
	if os.Getenv(bareVariable) != "" {
		if err := serveBare(); err != nil {
			fmt.Fprintln(os.Stderr, "bare server:", err)
			os.Exit(1)
		}
		return
	}
	if os.Getenv(floodVariable) != "" {
		if err := runFlood(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, "flood:", err)
			os.Exit(1)
		}
		return
	}
	var o options
	flag.StringVar(&o.binary, "binary", "bin/headway", "binary to measure")
	flag.StringVar(&o.only, "only", "", "comma-separated groups to run: idle, configmaps, pods, memory, list, flood, watch (default: all)")
	flag.IntVar(&o.clients, "clients", 32, "how many clients write and read at once")
	flag.IntVar(&o.pods, "pods", 10_000, "how many pods are there for lists, memory and watches")
	flag.IntVar(&o.rounds, "rounds", 4_000, "how many operations a figure is the mean of")
	flag.IntVar(&o.watchers, "watchers", 1_000, "how many watchers there are in the largest round")
	flag.IntVar(&o.seconds, "seconds", 10, "how long the rounds with watchers take")
	flag.BoolVar(&o.profiles, "profiles", false, "leave a CPU profile of each round in the kept directory (with -keep)")
	flag.BoolVar(&o.keep, "keep", false, "keep the temporary directory with the server's log")
	flag.BoolVar(&o.verbose, "v", false, "let the server log on stderr")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := measure(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is a run of this program.
type bench struct {
	options
	dir    string
	report *figure.Report
	server *server
	// created says that the pods are there.
	created bool
}

// groups are in the order that disturbs least: what is measured idle or empty
// comes first.
var groups = []struct {
	name string
	run  func(*bench, context.Context) error
}{
	{"idle", (*bench).idle},
	{"configmaps", (*bench).configMaps},
	{"pods", (*bench).podWrites},
	{"memory", (*bench).memory},
	{"list", (*bench).list},
	{"flood", (*bench).flood},
	{"watch", (*bench).watch},
}

func measure(ctx context.Context, o options) (err error) {
	if o.binary, err = filepath.Abs(o.binary); err != nil {
		return err
	}
	if _, err := os.Stat(o.binary); err != nil {
		return fmt.Errorf("%w: build it first", err)
	}
	dir, err := os.MkdirTemp("", "hwapi")
	if err != nil {
		return err
	}
	b := &bench{options: o, dir: dir, report: figure.NewReport(os.Stdout)}
	err = b.all(ctx)
	if o.keep {
		fmt.Fprintln(os.Stderr, "kept", dir)
		return err
	}
	return errors.Join(err, os.RemoveAll(dir))
}

func (b *bench) all(ctx context.Context) (err error) {
	if b.server, err = b.start(ctx, "main"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.server.End()) }()
	b.report.Header()
	for _, g := range groups {
		if b.only != "" && !slices.Contains(strings.Split(b.only, ","), g.name) {
			continue
		}
		if err := g.run(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
	}
	return nil
}
