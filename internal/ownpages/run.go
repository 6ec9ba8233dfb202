package ownpages

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/utils/clock"
)

const (
	// AfterStart is when a process is done with what its start alone needed.
	AfterStart = 10 * time.Second
	// Every is how often is looked afterwards.
	Every = 30 * time.Second
	// worth is how much of the program has to be resident to be given back.
	worth = 32 << 20
	// idle is the share of one core below which nothing much is going on: what
	// is in use would only be read again.
	idle = 0.1
)

// Run gives pages back once the start is over, and whenever work has brought
// many in and is over, until the context ends.
func Run(ctx context.Context, clk clock.WithTicker) error { return run(ctx, clk, worth) }

func run(ctx context.Context, clk clock.WithTicker, worth int64) error {
	select {
	case <-ctx.Done():
		return nil
	case <-clk.After(AfterStart):
	}
	err := Release()
	ticker := clk.NewTicker(Every)
	defer ticker.Stop()
	at, used := clk.Now(), cpuTime()
	for {
		select {
		case <-ctx.Done():
			return err
		case <-ticker.C():
		}
		now, total := clk.Now(), cpuTime()
		quiet := float64(total-used) < idle*float64(now.Sub(at))
		at, used = now, total
		if quiet && resident() >= worth {
			err = Release()
		}
	}
}

// cpuTime is what this process has used so far; what cannot be read counts as
// nothing.
func cpuTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resident is how much memory with a file behind it the process has; 0 if that
// cannot be read.
func resident() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 3 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
