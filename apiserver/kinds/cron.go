package kinds

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cronField is the range of one of the five fields, and names for its values.
type cronField struct {
	low, high int
	names     []string
}

func cronFields() [5]cronField {
	return [5]cronField{
		{0, 59, nil}, {0, 23, nil}, {1, 31, nil},
		{1, 12, []string{"", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
		{0, 6, []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
	}
}

// cronSchedule says what is wrong with a schedule: five fields of numbers,
// names, ranges, lists and steps, or a word such as @daily.
func cronSchedule(s string) string {
	if word, ok := strings.CutPrefix(s, "@"); ok {
		if every, ok := strings.CutPrefix(word, "every "); ok {
			if _, err := time.ParseDuration(every); err != nil {
				return fmt.Sprintf("failed to parse duration %s: %s", s, err)
			}
			return ""
		}
		if !slices.Contains([]string{"yearly", "annually", "monthly", "weekly", "daily", "midnight", "hourly"}, word) {
			return "unrecognized descriptor: " + s
		}
		return ""
	}
	fields := strings.Fields(s)
	if len(fields) != 5 {
		return fmt.Sprintf("expected exactly 5 fields, found %d: [%s]", len(fields), strings.Join(fields, " "))
	}
	for i, f := range cronFields() {
		for part := range strings.SplitSeq(fields[i], ",") {
			if why := f.check(part); why != "" {
				return why
			}
		}
	}
	return ""
}

func (f cronField) check(part string) string {
	span, step, stepped := strings.Cut(part, "/")
	if stepped {
		if n, err := strconv.Atoi(step); err != nil || n <= 0 {
			return "step of range should be a positive number: " + part
		}
	}
	if span == "*" || span == "?" {
		return ""
	}
	from, to, ranged := strings.Cut(span, "-")
	low, err := f.value(from)
	if err != nil {
		return fmt.Sprintf("failed to parse int from %s: %s", from, err)
	}
	high := low
	if ranged {
		if high, err = f.value(to); err != nil {
			return fmt.Sprintf("failed to parse int from %s: %s", to, err)
		}
	}
	switch {
	case low < f.low:
		return fmt.Sprintf("beginning of range (%d) below minimum (%d): %s", low, f.low, part)
	case high > f.high:
		return fmt.Sprintf("end of range (%d) above maximum (%d): %s", high, f.high, part)
	case low > high:
		return fmt.Sprintf("beginning of range (%d) beyond end of range (%d): %s", low, high, part)
	}
	return ""
}

func (f cronField) value(s string) (int, error) {
	if i := slices.Index(f.names, strings.ToLower(s)); i >= 0 && s != "" {
		return i, nil
	}
	return strconv.Atoi(s)
}
