package logkeeper

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/headway-sh/headway/internal/ownpages"
)

const (
	// gcPercent keeps the heap small: nearly everything here is pooled buffers.
	gcPercent = 20
	// memoryLimit makes the collector work harder before the process grows.
	memoryLimit = 24 << 20
)

// Main is the keeper's process; args are "--socket PATH --state FILE". It runs
// until ctx ends or it gets SIGTERM, then writes what it has read and leaves
// the FIFOs to the next keeper.
func Main(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("logkeeper", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	socket := flags.String("socket", "", "unix socket to listen on")
	state := flags.String("state", "", "file that lists what is kept")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("log keeper: %w", err)
	}
	if *socket == "" || *state == "" {
		return errors.New("log keeper: --socket and --state are needed")
	}
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memoryLimit)
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return Run(ctx, *socket, *state)
}

// Run keeps logs until ctx ends.
func Run(ctx context.Context, socket, state string) error {
	k, err := openKeeper(state)
	if err != nil {
		return fmt.Errorf("log keeper: %w", err)
	}
	defer k.close()
	debug.FreeOSMemory()   // what reading the program in has left behind
	_ = ownpages.Release() // more resident memory is no reason not to keep logs
	if err := k.serve(ctx, socket); err != nil {
		return fmt.Errorf("log keeper: %w", err)
	}
	return nil
}
