package horizontalpodautoscaler

import "time"

// Done notes that the scale was changed.
func (h *History) Done(from, to int32, now time.Time) { h.done(from, to, now) }
