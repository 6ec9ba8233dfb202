package logs_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/headway-sh/headway/nodeagent/logs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const day = "2026-01-02T15:04:0%d.000000000Z %s %s %s\n"

func write(t *testing.T, path string, lines ...string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(strings.Join(lines, "")); err != nil {
		t.Fatal(err)
	}
}

func line(second int, text string) string { return fmt.Sprintf(day, second, "stdout", "F", text) }

func TestRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "0.log")
	write(t, path+".20260102-150400.000000000", line(0, "zero"), line(1, "one"))
	write(t, path, line(2, "two"), fmt.Sprintf(day, 3, "stdout", "P", "thr"), fmt.Sprintf(day, 3, "stdout", "F", "ee"), fmt.Sprintf(day, 4, "stderr", "F", "four"))
	all := logs.Options{Tail: -1}
	for name, tc := range map[string]struct {
		change func(*logs.Options)
		want   string
		stderr string
	}{
		"all":           {func(*logs.Options) {}, "zero\none\ntwo\nthree\n", "four\n"},
		"tail":          {func(o *logs.Options) { o.Tail = 1 }, "", "four\n"},
		"tail over":     {func(o *logs.Options) { o.Tail = 5 }, "one\ntwo\nthree\n", "four\n"},
		"tail none":     {func(o *logs.Options) { o.Tail = 0 }, "", ""},
		"tail too many": {func(o *logs.Options) { o.Tail = 100 }, "zero\none\ntwo\nthree\n", "four\n"},
		"since":         {func(o *logs.Options) { o.Since = time.Date(2026, 1, 2, 15, 4, 2, 0, time.UTC) }, "two\nthree\n", "four\n"},
		"limit":         {func(o *logs.Options) { o.Limit = 7 }, "zero\non", ""},
		"stdout":        {func(o *logs.Options) { o.Stream = logs.Stdout }, "zero\none\ntwo\nthree\n", ""},
		"stderr":        {func(o *logs.Options) { o.Stream = logs.Stderr }, "", "four\n"},
		"timestamps": {func(o *logs.Options) { o.Timestamps, o.Tail = true, 3 },
			"2026-01-02T15:04:03.000000000Z three\n", "2026-01-02T15:04:04.000000000Z four\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := all
			tc.change(&o)
			var stdout, stderr bytes.Buffer
			if err := logs.Read(t.Context(), path, o, &stdout, &stderr); err != nil {
				t.Fatal(err)
			}
			if stdout.String() != tc.want || stderr.String() != tc.stderr {
				t.Errorf("got %q and %q, want %q and %q", stdout.String(), stderr.String(), tc.want, tc.stderr)
			}
		})
	}
	if err := logs.Read(t.Context(), path+"x", all, io.Discard, io.Discard); !os.IsNotExist(err) && err == nil {
		t.Error("a log that does not exist was read")
	}
	if text, err := logs.Tail(path, 1, 3); err != nil || string(text) != "ur\n" {
		t.Errorf("tail %q %v", text, err)
	}
}

func TestFollow(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "0.log")
	write(t, path, line(0, "zero"))
	out, in := io.Pipe()
	ended := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- logs.Read(context.WithoutCancel(t.Context()), path, logs.Options{Follow: true, Tail: -1, Ended: ended}, in, in)
		in.Close()
	}()
	expect := func(want string) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(out, got); err != nil || string(got) != want {
			t.Fatalf("got %q %v, want %q", got, err, want)
		}
	}
	expect("zero\n")
	write(t, path, line(1, "one"))
	expect("one\n")
	write(t, path, line(2, "last of the old"))
	if err := os.Rename(path, path+".20260102-150400.000000000"); err != nil {
		t.Fatal(err)
	}
	write(t, path, line(3, "first of the new"))
	expect("last of the old\nfirst of the new\n")
	write(t, path, line(4, "end"))
	close(ended)
	expect("end\n")
	if err := <-done; err != nil {
		t.Error(err)
	}
}
