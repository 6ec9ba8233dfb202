// Package failpoint names the places in the product where a test can make a
// component fail, stop or die, so that crash safety is shown and not asserted.
//
// Points are compiled in and off by default. They are switched on for a
// process through the environment variable HEADWAY_FAILPOINTS, a list such as
//
//	store.txn.before=exit;git.push.before=error:disk on fire;containerd.start.after=pause
//
// or for a test in the same process through Set. The actions are
//
//	error[:TEXT]  Hit returns an error that Is(err) recognises
//	exit          the process ends at once with status 86, as by SIGKILL: no deferred call runs
//	pause         Hit blocks until its context ends or the point is cleared
//	N*ACTION      let the first N-1 hits pass, act on the Nth and later ones
//
// A point that is off costs one atomic load.
package failpoint
