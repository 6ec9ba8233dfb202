package crilog_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headway-sh/headway/nodeagent/crilog"
)

func TestEncode(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 15, 4, 5, 6, time.FixedZone("east", 3600))
	const stamp = "2026-01-02T14:04:05.000000006Z stdout "
	long := strings.Repeat("x", crilog.MaxLine)
	for _, tc := range []struct{ name, data, want, rest string }{
		{name: "nothing"},
		{name: "one line", data: "a\n", want: stamp + "F a\n"},
		{name: "empty line", data: "\n", want: stamp + "F \n"},
		{name: "two lines and a start", data: "a\nb\nc", want: stamp + "F a\n" + stamp + "F b\n", rest: "c"},
		{name: "exactly the limit", data: long + "\n", want: stamp + "F " + long + "\n"},
		{name: "limit without newline", data: long, want: stamp + "P " + long + "\n"},
		{name: "over the limit", data: long + "yz\n", want: stamp + "P " + long + "\n" + stamp + "F yz\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			out, rest := crilog.Encode(nil, at, crilog.Stdout, []byte(tc.data))
			if diff := cmp.Diff(tc.want, string(out)); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
			if string(rest) != tc.rest {
				t.Errorf("rest %q, want %q", rest, tc.rest)
			}
		})
	}
}
