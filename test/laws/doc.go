// Package laws holds the rules of the repository that a program can check: who
// may import whom, and how large a file may grow. A law that fails says why it
// is one.
package laws
