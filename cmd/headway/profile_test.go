package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestProfilesAreForTheOwnerAlone: a heap tells what others have stored.
func TestProfilesAreForTheOwnerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pprof")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serveProfiles(ctx, path) }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	patience := time.After(10 * time.Second)
	for {
		info, err := os.Stat(path)
		if err == nil && info.Mode().Perm() == 0o600 {
			break
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		select {
		case <-tick.C:
		case err := <-done:
			t.Fatalf("it ended with %v", err)
		case <-patience:
			t.Fatalf("the socket has mode %v", info)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
