package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// report prints figures, one a line, as they come.
type report struct{ out io.Writer }

func newReport(out io.Writer) *report { return &report{out} }

const layout = "%-48s %10s %10s %10s %4s  %-34s %s\n"

func (r *report) header() {
	fmt.Fprintf(r.out, layout, "figure", "p50", "p99", "max", "n", "reference", "aim")
}

// times prints durations.
func (r *report) times(name string, all []time.Duration, reference, aim string) {
	if len(all) == 0 {
		return
	}
	sorted := slices.Sorted(slices.Values(all))
	at := func(q float64) string { return milliseconds(sorted[int(q*float64(len(sorted)-1)+0.5)]) }
	fmt.Fprintf(r.out, layout, name, at(0.5), at(0.99), milliseconds(sorted[len(sorted)-1]), fmt.Sprint(len(all)), reference, aim)
}

// value prints a figure that is measured once.
func (r *report) value(name, value, reference, aim string) {
	fmt.Fprintf(r.out, layout, name, value, "", "", "1", reference, aim)
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

func megabytes(kilobytes int64) string { return fmt.Sprintf("%.0f MB", float64(kilobytes)*1024/1e6) }
