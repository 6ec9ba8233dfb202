// Package fault drives the built program from outside and holds it to what it
// promises about commits and crashes: a commit is applied whole or not at all,
// nobody can do what his role lacks, a server that dies leaves no mix, several
// servers survive the loss of one, and containers do not notice that the
// processes around them are replaced.
//
// The program is $HEADWAY_BIN, or is built for the tests. Tests that run
// containers need root and containerd, and say so when they are skipped.
package fault
