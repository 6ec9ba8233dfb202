package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// profileSeconds is how much of a round is profiled.
const profileSeconds = 3

// profile leaves a CPU profile of what runs until the returned function is
// called, if profiles are wanted.
func (b *bench) profile(ctx context.Context, name string) (done func()) {
	if !b.profiles {
		return func() {}
	}
	ended := make(chan error, 1)
	go func() {
		p, err := b.server.Profile(ctx, fmt.Sprintf("profile?seconds=%d", profileSeconds))
		if err == nil {
			err = os.WriteFile(filepath.Join(b.dir, strings.ReplaceAll(name, " ", "-")+".pb"), p, 0o600)
		}
		ended <- err
	}()
	return func() {
		if err := <-ended; err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}
}
