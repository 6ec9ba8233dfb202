package printer

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// Progress writes what is going on, one line a step.
type Progress struct {
	w             io.Writer
	unicode, tint bool
}

// NewProgress writes to w: in colour on a terminal unless NO_COLOR is set, and
// with plain signs where the locale is not UTF-8.
func NewProgress(w io.Writer, env func(string) string) *Progress {
	p := &Progress{w: w, unicode: isUnicode(env)}
	f, ok := w.(*os.File)
	p.tint = ok && env("NO_COLOR") == "" && env("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
	return p
}

// isUnicode tells whether the locale is UTF-8.
func isUnicode(env func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if value := strings.ToUpper(env(name)); value != "" {
			return strings.Contains(value, "UTF-8") || strings.Contains(value, "UTF8")
		}
	}
	return false
}

// Step says that something begins.
func (p *Progress) Step(format string, args ...any) { p.line("►", ">", "36", format, args) }

// Wait says what is waited for.
func (p *Progress) Wait(format string, args ...any) { p.line("◎", "...", "36", format, args) }

// Done says that something is reached.
func (p *Progress) Done(format string, args ...any) { p.line("✔", "ok", "32", format, args) }

// Fail says that something will not be reached.
func (p *Progress) Fail(format string, args ...any) { p.line("✗", "!!", "31", format, args) }

func (p *Progress) line(sign, plain, colour, format string, args []any) {
	if !p.unicode {
		sign = plain
	}
	if p.tint {
		sign = "\x1b[" + colour + "m" + sign + "\x1b[0m"
	}
	fmt.Fprintln(p.w, sign, Clean(fmt.Sprintf(format, args...)))
}
