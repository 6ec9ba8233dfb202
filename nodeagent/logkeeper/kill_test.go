package logkeeper_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestKilledWhileWriting kills the keeper again and again while both streams
// are busy. Each line is in the log once and in order, whole.
func TestKilledWhileWriting(t *testing.T) {
	t.Parallel()
	const kills = 20
	dir, d, client := process(t)
	c := container(dir, "a")
	c.MaxFiles = 1000 // rotated files are read too
	c.MaxSize = 1 << 20
	if err := client.Add(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	var wrote [2]int
	for i, fifo := range []*os.File{writer(t, c.Stdout), writer(t, c.Stderr)} {
		writers.Add(1)
		go func() {
			defer writers.Done()
			for {
				select {
				case <-stop:
					return
				default:
				}
				n := wrote[i]
				if _, err := fmt.Fprintf(fifo, "%d %s\n", n, strings.Repeat("x", n%97)); err != nil {
					t.Error(err)
					return
				}
				wrote[i]++
			}
		}()
	}
	for range kills {
		grown := time.NewTimer(rand.N(20 * time.Millisecond)) // where it is killed is left to chance
		<-grown.C
		if err := unix.Kill(d.PID(), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		await(t, "end of the keeper", func() bool { return d.PID() == 0 })
		if err := d.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	writers.Wait()
	if err := client.Remove(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	for i, stream := range []string{"stdout", "stderr"} {
		got := streamTexts(t, c.LogPath, stream)
		for n := range max(wrote[i], len(got)) {
			want := fmt.Sprintf("%d %s", n, strings.Repeat("x", n%97))
			if n >= len(got) || n >= wrote[i] || got[n] != want {
				t.Fatalf("%s: line %d of %d (%d in the log) is %q, want %q", stream, n, wrote[i], len(got), at(got, n), want)
			}
		}
		t.Logf("%s: %d lines through %d kills", stream, wrote[i], kills)
	}
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return "missing"
}

// streamTexts returns the lines of one stream over all files of a log; parts are joined.
func streamTexts(t *testing.T, path, stream string) []string {
	t.Helper()
	entries, err := os.ReadDir(path[:strings.LastIndexByte(path, '/')])
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() != "0.log" {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	var out []string
	part := ""
	for _, name := range append(names, "0.log") {
		content, err := os.ReadFile(path[:strings.LastIndexByte(path, '/')+1] + name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(content)) {
			m := entry.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
			switch {
			case m == nil:
				t.Fatalf("not an entry: %q", line)
			case m[1] != stream:
			case m[2] == "P":
				part += m[3]
			default:
				out, part = append(out, part+m[3]), ""
			}
		}
	}
	return out
}
