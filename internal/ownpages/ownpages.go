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

// Release gives back the read-only pages of the running program. It may be
// called at any time: the program reads them again where it goes on.
func Release() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find the running program: %w", err)
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("read the memory map: %w", err)
	}
	defer maps.Close()
	ranges, err := readOnly(maps, program)
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

// readOnly finds the mappings of the program's file that nothing can write to:
// in a writable one there may be what is nowhere else.
//
//	00400000-05e3f000 r-xp 00000000 fe:01 1234   /usr/bin/headway
func readOnly(maps io.Reader, program string) ([]addresses, error) {
	var found []addresses
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) != 6 || fields[5] != program || strings.Contains(fields[1], "w") || strings.Contains(fields[1], "s") {
			continue
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
		found = append(found, addresses{uintptr(start), uintptr(end)})
	}
	return found, lines.Err()
}
