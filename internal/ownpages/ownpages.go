// Package ownpages gives back the pages of the program itself that only its
// start has touched. They are clean and come back from the page cache when
// they are needed again, but until then they count as the process's memory: of
// a program of this size a hundred megabytes, most of it code that is never
// run twice.
package ownpages

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Release gives back those pages of the running program that are as they are in
// its file. It may be called at any time: the program reads them again where it
// goes on.
func Release() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find the running program: %w", err)
	}
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("read the memory map: %w", err)
	}
	defer maps.Close()
	ranges, err := clean(maps, program)
	if err != nil {
		return fmt.Errorf("read the memory map: %w", err)
	}
	var errs []error
	for _, r := range ranges {
		// The bare call: these addresses are the kernel's, no Go object lies there.
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, r.start, r.end-r.start, unix.MADV_DONTNEED); errno != 0 {
			errs = append(errs, fmt.Errorf("give back %x-%x: %w", r.start, r.end, errno))
		}
	}
	return errors.Join(errs...)
}

type addresses struct{ start, end uintptr }

// clean finds the mappings of the program's file that are as they are in the
// file. What is writable may hold what is nowhere else, and so may a read-only
// mapping: the dynamic linker writes addresses into some before it protects
// them. Such pages count as anonymous.
//
//	00400000-05e3f000 r-xp 00000000 fe:01 1234   /usr/bin/headway
//	…
//	Anonymous:             0 kB
func clean(smaps io.Reader, program string) ([]addresses, error) {
	var found []addresses
	var candidate *addresses // the mapping that the lines are about
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) == 0:
		case fields[0] == "Anonymous:":
			if candidate != nil && len(fields) == 3 && fields[1] == "0" {
				found = append(found, *candidate)
			}
			candidate = nil
		case !strings.HasSuffix(fields[0], ":"):
			var err error
			if candidate, err = mapping(fields, program); err != nil {
				return nil, err
			}
		}
	}
	return found, lines.Err()
}

// mapping reads the first line of a mapping; nil when it is another file's or
// can be written to.
func mapping(fields []string, program string) (*addresses, error) {
	if len(fields) != 6 || fields[5] != program || strings.Contains(fields[1], "w") || strings.Contains(fields[1], "s") {
		return nil, nil
	}
	from, to, ok := strings.Cut(fields[0], "-")
	start, err := strconv.ParseUint(from, 16, 64)
	if err != nil || !ok {
		return nil, fmt.Errorf("no range of addresses: %q", fields[0])
	}
	end, err := strconv.ParseUint(to, 16, 64)
	if err != nil || end <= start {
		return nil, fmt.Errorf("no range of addresses: %q", fields[0])
	}
	return &addresses{uintptr(start), uintptr(end)}, nil
}
