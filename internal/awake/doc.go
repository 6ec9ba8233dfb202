// Package awake is a clock that runs only while this process does. Who waits
// for others by it never takes its own standing still, because the machine had
// no time for it or somebody stopped it, for their silence.
package awake
