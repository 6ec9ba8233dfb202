// Package modes makes the backends of each proxy mode, and takes away what
// another mode has left.
package modes
