// Package chartrepo takes charts from repositories outside of git: a directory,
// or an https server with an index.yaml, as Helm has them.
//
// Only an exact version is asked for, and what has come once stays: archives
// rest under their SHA-256, and a version of a repository is the archive that it
// was the first time. So the same commit renders to the same objects, also with
// the repository away.
package chartrepo
