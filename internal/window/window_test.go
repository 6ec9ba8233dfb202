package window_test

import (
	"testing"
	"time"

	"github.com/headway-sh/headway/internal/window"
)

type w struct {
	deny     bool
	schedule string
	duration time.Duration
	zone     string
}

func set(t *testing.T, all []w) []*window.Window {
	t.Helper()
	var out []*window.Window
	for _, one := range all {
		made, err := window.New(one.deny, one.schedule, one.duration, one.zone)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, made)
	}
	return out
}

func TestAt(t *testing.T) {
	t.Parallel()
	const berlin = "Europe/Berlin"
	night := w{true, "0 22 * * *", 8 * time.Hour, berlin}
	office := w{false, "0 9 * * mon-fri", 8 * time.Hour, berlin}
	for name, c := range map[string]struct {
		windows []w
		now     string
		open    bool
		until   string // of a closed state
		by      int
	}{
		"nothing":                        {nil, "2026-03-02T12:00:00Z", true, "", -1},
		"before a denial":                {[]w{night}, "2026-03-02T20:59:59Z", true, "", -1},
		"its first moment":               {[]w{night}, "2026-03-02T21:00:00Z", false, "2026-03-03T05:00:00Z", 0},
		"after midnight":                 {[]w{night}, "2026-03-03T04:59:59Z", false, "2026-03-03T05:00:00Z", 0},
		"its end":                        {[]w{night}, "2026-03-03T05:00:00Z", true, "", -1},
		"inside of what is allowed":      {[]w{office}, "2026-03-02T08:00:00Z", true, "", -1},
		"outside of it":                  {[]w{office}, "2026-03-06T17:00:00Z", false, "2026-03-09T08:00:00Z", -1},
		"a denial beats":                 {[]w{office, {true, "0 12 * * *", time.Hour, berlin}}, "2026-03-02T11:30:00Z", false, "2026-03-02T12:00:00Z", 1},
		"a denial at the opening":        {[]w{office, {true, "0 0 9 3 *", 10 * time.Hour, berlin}}, "2026-03-06T17:00:00Z", false, "2026-03-09T09:00:00Z", -1},
		"two denials in a row":           {[]w{night, {true, "0 6 * * *", 2 * time.Hour, berlin}}, "2026-03-03T00:00:00Z", false, "2026-03-03T07:00:00Z", 0},
		"overlapping starts":             {[]w{{true, "0 * * * *", 90 * time.Minute, ""}, {false, "0 0 1 1 *", time.Hour, ""}}, "2026-03-03T00:00:00Z", false, "", 0},
		"never":                          {[]w{{false, "0 0 31 2 *", time.Hour, ""}}, "2026-03-03T00:00:00Z", false, "", -1},
		"spring: as long as ever":        {[]w{night}, "2026-03-28T22:00:00Z", false, "2026-03-29T05:00:00Z", 0},
		"spring: the hour left out":      {[]w{{true, "30 2 * * *", time.Hour, berlin}}, "2026-03-29T01:00:00Z", false, "2026-03-29T02:00:00Z", 0},
		"spring: not before":             {[]w{{true, "30 2 * * *", time.Hour, berlin}}, "2026-03-29T00:59:59Z", true, "", -1},
		"autumn: the hour twice":         {[]w{{true, "30 2 * * *", 30 * time.Minute, berlin}}, "2026-10-25T00:45:00Z", false, "2026-10-25T01:00:00Z", 0},
		"autumn: only once":              {[]w{{true, "30 2 * * *", 30 * time.Minute, berlin}}, "2026-10-25T01:45:00Z", true, "", -1},
		"autumn: as long as ever":        {[]w{night}, "2026-10-25T03:59:00Z", false, "2026-10-25T04:00:00Z", 0},
		"longer than its schedule":       {[]w{{true, "0 0 1 * *", 20 * 24 * time.Hour, ""}}, "2026-03-20T23:00:00Z", false, "2026-03-21T00:00:00Z", 0},
		"allowed again before it closes": {[]w{{false, "0 * * * *", 2 * time.Hour, ""}}, "2026-03-20T23:59:00Z", true, "", -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now, err := time.Parse(time.RFC3339, c.now)
			if err != nil {
				t.Fatal(err)
			}
			got := window.At(set(t, c.windows), now)
			until := ""
			if !got.Open && !got.Until.IsZero() {
				until = got.Until.UTC().Format(time.RFC3339)
			}
			if got.Open != c.open || until != c.until || got.By != c.by {
				t.Errorf("open %v until %q by %d, want %v until %q by %d", got.Open, until, got.By, c.open, c.until, c.by)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]w{
		"six fields":      {false, "0 0 9 * * *", time.Hour, ""},
		"a word":          {false, "@daily", time.Hour, ""},
		"a zone in front": {false, "CRON_TZ=UTC 0 9 * *", time.Hour, ""},
		"hour 25":         {false, "0 25 * * *", time.Hour, ""},
		"no duration":     {false, "0 9 * * *", 0, ""},
		"a long one":      {false, "0 9 * * *", 32 * 24 * time.Hour, ""},
		"no zone":         {false, "0 9 * * *", time.Hour, "Mars/Olympus"},
		"local":           {false, "0 9 * * *", time.Hour, "Local"},
	} {
		if _, err := window.New(c.deny, c.schedule, c.duration, c.zone); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// Whatever opens is open at the moment that it was announced for, and not a
// second before.
func TestUntilIsExact(t *testing.T) {
	t.Parallel()
	windows := set(t, []w{{false, "*/50 2,9 * * *", 17 * time.Minute, "America/New_York"}, {true, "5 9 * * 2", 3 * time.Hour, "Australia/Lord_Howe"}})
	for now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC); now.Year() == 2026; now = now.Add(7*time.Hour + 13*time.Minute) {
		s := window.At(windows, now)
		if s.Open {
			continue
		}
		if !window.At(windows, s.Until).Open || window.At(windows, s.Until.Add(-time.Second)).Open {
			t.Fatalf("at %s it says %s", now, s.Until)
		}
	}
}
