package ownpages

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
	if err := Release(); err != nil {
		t.Fatal(err)
	}
	if after := fileBacked(t); after >= before {
		t.Errorf("resident of files: %d kB before, %d kB after", before, after)
	}
}

// TestOnlyWhatIsAsInTheFile leaves out what the dynamic linker has written to:
// without it a dynamically linked program ended at its next call of C.
func TestOnlyWhatIsAsInTheFile(t *testing.T) {
	t.Parallel()
	const smaps = `00400000-01cb0000 r--p 00000000 fe:00 1234                       /bin/it
Size:              25280 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
01cb0000-04c40000 r-xp 018af000 fe:00 1234                       /bin/it
Anonymous:             0 kB
04c40000-04c41000 r--p 0483e000 fe:00 1234                       /bin/it
Anonymous:             4 kB
04c41000-04d00000 rw-p 0483f000 fe:00 1234                       /bin/it
Anonymous:             0 kB
7f0000000000-7f0000001000 r-xp 00000000 fe:00 99                 /lib/libc.so.6
Anonymous:             0 kB
7f0000002000-7f0000003000 rw-p 00000000 00:00 0
Anonymous:             4 kB
`
	got, err := clean(strings.NewReader(smaps), "/bin/it")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]addresses{{0x400000, 0x1cb0000}, {0x1cb0000, 0x4c40000}}, got, cmp.AllowUnexported(addresses{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
