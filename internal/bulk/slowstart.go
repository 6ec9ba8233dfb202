package bulk

import "errors"

// SlowStart hands out n pieces of work by their numbers: the first alone, then
// twice as many each time, so that what cannot work fails once and not n times.
// do has the numbers from <= i < to and gives their errors; the first range with
// an error is the last one.
func SlowStart(n int, do func(from, to int) []error) error {
	for from, size := 0, 1; from < n; size *= 2 {
		to := min(from+size, n)
		if err := errors.Join(do(from, to)...); err != nil {
			return err
		}
		from = to
	}
	return nil
}
