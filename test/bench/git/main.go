// Command git measures the GitOps engine of the built binary from outside: by
// real pushes to repositories of several sizes and by watches through the API.
// It needs git and no root, and leaves nothing behind.
//
//	go build -o bin/headway ./cmd/headway && go run ./test/bench/git [-only push,first]
//
// No pods are run: Deployments have no replicas. Each group has a server and a
// repository of its own.
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
	"time"

	"github.com/headway-sh/headway/test/bench/figure"
)

// options are the program's flags.
type options struct {
	binary, only            string
	pushes, drifts          int
	idle                    time.Duration
	keep, verbose, profiles bool
}

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "bin/headway", "binary to measure")
	flag.StringVar(&o.only, "only", "", "comma-separated groups to run: push, first, plan, drift, memory (default: all)")
	flag.IntVar(&o.pushes, "pushes", 60, "how often a line is changed and pushed in a repository of each size")
	flag.IntVar(&o.drifts, "drifts", 60, "how often an object is changed behind git's back")
	flag.DurationVar(&o.idle, "idle", time.Minute, "how long to watch an idle cluster")
	flag.BoolVar(&o.keep, "keep", false, "keep the temporary directory with the servers' logs")
	flag.BoolVar(&o.profiles, "profiles", false, "leave CPU profiles of the pushes and the first syncs in the kept directory (with -keep)")
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
	{"push", (*bench).push},
	{"first", (*bench).first},
	{"plan", (*bench).plan},
	{"drift", (*bench).drift},
	{"memory", (*bench).memory},
}

func measure(ctx context.Context, o options) (err error) {
	if o.binary, err = filepath.Abs(o.binary); err != nil {
		return err
	}
	if _, err := os.Stat(o.binary); err != nil {
		return fmt.Errorf("%w: build it first", err)
	}
	dir, err := os.MkdirTemp("", "hwgit")
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
