package figure

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// Report prints figures, one a line, as they come.
type Report struct{ out io.Writer }

// NewReport prints to out.
func NewReport(out io.Writer) *Report { return &Report{out} }

const layout = "%-52s %10s %10s %10s %6s  %-34s %s\n"

// Header names the columns.
func (r *Report) Header() {
	fmt.Fprintf(r.out, layout, "figure", "p50", "p99", "max", "n", "reference", "aim")
}

// Times prints durations; none, nothing.
func (r *Report) Times(name string, all []time.Duration, reference, aim string) {
	if len(all) == 0 {
		return
	}
	sorted := slices.Sorted(slices.Values(all))
	at := func(q float64) string { return Milliseconds(sorted[int(q*float64(len(sorted)-1)+0.5)]) }
	fmt.Fprintf(r.out, layout, name, at(0.5), at(0.99), Milliseconds(sorted[len(sorted)-1]), fmt.Sprint(len(all)), reference, aim)
}

// Value prints a figure that is measured once.
func (r *Report) Value(name, value, reference, aim string) { r.Mean(name, value, 1, reference, aim) }

// Mean prints a figure that is shared out over n.
func (r *Report) Mean(name, value string, n int, reference, aim string) {
	fmt.Fprintf(r.out, layout, name, value, "", "", fmt.Sprint(n), reference, aim)
}

// Milliseconds writes a duration.
func Milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

// Megabytes writes a size.
func Megabytes(kilobytes int64) string { return fmt.Sprintf("%.0f MB", float64(kilobytes)*1024/1e6) }
