// Command bench measures the built binary from outside: a whole cluster in
// network, mount and process namespaces of its own and a temporary data
// directory, driven through its API and by real git pushes. It prints one line
// a figure. Root, git, containerd and runc are needed, and strace for the
// count of fsyncs.
//
//	go build -o bin/headway ./cmd/headway && go run ./hack/helloimage
//	go run ./test/bench [-only push,drift] [-idle 60s]
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
	"github.com/headway-sh/headway/test/bench/rig"
)

// options are the program's flags.
type options struct {
	binary, image string
	only          string
	idle          time.Duration
	cycles        int
	rest          time.Duration
	keep, verbose bool
}

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "bin/headway", "binary to measure")
	flag.StringVar(&o.image, "image", "bin/images/hello.tar", "archive of an image whose container runs until it is stopped")
	flag.StringVar(&o.only, "only", "", "comma-separated groups to run: start, idle, push, drift, pods (default: these), singles, crowd, cycles")
	flag.IntVar(&o.cycles, "cycles", 500, "how many pods to make and delete while counting what they leave")
	flag.DurationVar(&o.idle, "idle", time.Minute, "how long to watch an idle cluster")
	flag.DurationVar(&o.rest, "rest", restFor, "how long an agent is idle before its memory is measured")
	flag.BoolVar(&o.keep, "keep", false, "keep the temporary directory with the server's log")
	flag.BoolVar(&o.verbose, "v", false, "let the server log on stderr")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	switch os.Getenv(stageVariable) {
	case "":
		return isolate()
	case stageInit:
		return initProcess()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return measure(ctx, o)
}

// group is some figures that are measured together.
type group struct {
	name string
	run  func(context.Context, *bench) error
	// node says that it is about a node with an agent in its own process: run
	// when named.
	node bool
}

// groups are in the order that disturbs least: what is measured idle comes
// before what leaves traces in memory.
func groups() []group {
	return []group{
		{"start", measureStart, false},
		{"idle", measureIdle, false},
		{"push", measurePush, false},
		{"drift", measureDrift, false},
		{"pods", measurePods, false},
		{"singles", measureSingles, true},
		{"crowd", measureCrowd, true},
		{"cycles", measureCycles, true},
	}
}

func measure(ctx context.Context, o options) error {
	for _, path := range []*string{&o.binary, &o.image} {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = absolute
	}
	for _, file := range []string{o.binary, o.image} {
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("%w: build it first", err)
		}
	}
	// Short: containerd's socket has to fit in 107 bytes.
	dir, err := os.MkdirTemp("", "hwb")
	if err != nil {
		return err
	}
	b := &bench{options: o, dir: dir, report: figure.NewReport(os.Stdout)}
	err = b.all(ctx)
	if o.keep {
		fmt.Fprintln(os.Stderr, "kept", dir)
		return err
	}
	return errors.Join(err, removeAll(dir))
}

// bench is a run of this program.
type bench struct {
	options
	dir     string
	report  *figure.Report
	cluster *cluster
	node    *apart
}

func (b *bench) all(ctx context.Context) error {
	b.report.Header()
	defer func() {
		if b.cluster != nil {
			b.cluster.stop()
		}
		if b.node != nil {
			b.node.stop()
		}
	}()
	for _, g := range groups() {
		if b.only == "" && g.node || b.only != "" && !slices.Contains(strings.Split(b.only, ","), g.name) {
			continue
		}
		if err := g.run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
	}
	return nil
}

// up gives the cluster that all groups but the first share.
func (b *bench) up(ctx context.Context) (*cluster, error) {
	if b.cluster != nil {
		return b.cluster, nil
	}
	repo, err := rig.NewRepository(ctx, filepath.Join(b.dir, "git"))
	if err != nil {
		return nil, err
	}
	c := newCluster(b, filepath.Join(b.dir, "d"), "--repo", repo.Bare)
	if err := c.start(ctx); err != nil {
		return nil, err
	}
	b.cluster, c.repo = c, repo
	return c, c.prepare(ctx)
}
