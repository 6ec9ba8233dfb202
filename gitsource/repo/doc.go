// Package repo reads and writes git repositories. It is the one place that
// touches the git library.
//
// A repository on the server's own disk is opened by its path and read where
// it lies, whether bare or with a working tree; others push into it with git
// itself, at any time. A remote one is mirrored into a bare repository below
// the data directory, which stays when the remote goes away. There is never a
// working tree: files are read from git objects.
//
// What comes out of a repository is hostile until shown otherwise: names of
// tree entries, sizes and targets of symbolic links are checked here.
package repo
