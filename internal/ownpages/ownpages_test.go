package ownpages_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/headway-sh/headway/internal/ownpages"
)

// fileBacked is what the process has resident of files, in kilobytes.
func fileBacked(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "RssFile:"); ok {
			n, err := strconv.Atoi(strings.Fields(value)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("the kernel does not tell RssFile")
	return 0
}

// TestRelease gives the test program's own pages back, and goes on running.
func TestRelease(t *testing.T) {
	before := fileBacked(t)
	if err := ownpages.Release(); err != nil {
		t.Fatal(err)
	}
	if after := fileBacked(t); after >= before {
		t.Errorf("resident of files: %d kB before, %d kB after", before, after)
	}
}
