// Command sched measures the scheduler of the built binary from outside, over
// HTTPS, with hollow nodes: thousands of them in this process, which renew their
// Leases and say that their pods run, but run nothing.
//
//	go build -o bin/headway ./cmd/headway && go run ./test/bench/sched [-only bind,deployment]
//
// It needs no root and leaves nothing behind. One watch serves all hollow nodes,
// where real agents have one each, and there are no streams of heartbeats.
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
	binary, only         string
	nodes, pods, writers int
	replicas             int
	keep, verbose        bool
}

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "bin/headway", "binary to measure")
	flag.StringVar(&o.only, "only", "", "comma-separated groups to run: bind, deployment (default: all)")
	flag.IntVar(&o.nodes, "nodes", 1000, "how many hollow nodes")
	flag.IntVar(&o.pods, "pods", 5000, "how many pods are created one by one")
	flag.IntVar(&o.writers, "writers", 16, "how many create them side by side")
	flag.IntVar(&o.replicas, "replicas", 10000, "replicas of the Deployment")
	flag.BoolVar(&o.keep, "keep", false, "keep the temporary directory with the servers' logs")
	flag.BoolVar(&o.verbose, "v", false, "let the servers log on stderr")
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
}

var groups = []struct {
	name string
	run  func(*bench, context.Context) error
}{
	{"bind", (*bench).bind},
	{"deployment", (*bench).deployment},
}

func measure(ctx context.Context, o options) (err error) {
	if o.binary, err = filepath.Abs(o.binary); err != nil {
		return err
	}
	if _, err := os.Stat(o.binary); err != nil {
		return fmt.Errorf("%w: build it first", err)
	}
	dir, err := os.MkdirTemp("", "hwsched")
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

func (b *bench) all(ctx context.Context) error {
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
