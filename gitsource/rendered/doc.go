// Package rendered keeps what commits rendered to, so that any two can be
// compared, and an old one can be restored, with the repository away.
//
// Objects are kept once, however many commits have them, and are sealed with a
// key that is derived from the cluster's: Secrets rest here, too. File names are
// keyed digests and tell nothing.
//
//	objects/ab/abcdef…      one object's body
//	sets/<source>/<commit>  digests and origins of a commit's objects
//
// Nothing here is the only copy: what is damaged or was cut off by a power cut
// is noticed, named, and can be rendered again from git.
package rendered
