package plan

import "time"

// Containers that end are started again at once the first time, then after
// 10 s, doubled at each further end up to 5 min; a run of 10 min forgets the
// ends before it (Kubernetes API reference, "Container restarts").
const (
	firstDelay = 10 * time.Second
	maxDelay   = 5 * time.Minute
	// LongRun is how long a container runs to be thought healthy.
	LongRun = 10 * time.Minute
)

// Delay is how long after its end a container is started again that has ended
// crashes times without a long run.
func Delay(crashes int) time.Duration {
	if crashes <= 1 {
		return 0
	}
	return Doubled(crashes - 1)
}

// Doubled is the wait after the n-th failed try in a row: 10 s, 20 s … 5 min.
func Doubled(n int) time.Duration {
	d := firstDelay
	for ; n > 1 && d < maxDelay; n-- {
		d *= 2
	}
	return min(d, maxDelay)
}
