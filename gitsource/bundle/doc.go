// Package bundle is the one file in which a commit travels to a cluster that
// reaches no network: history, the list of the objects that it renders to, and
// the images that they run.
//
// The file is a plain tar archive, whose parts come in this order:
//
//	manifest.json            what is in it: the name, size and SHA-256 of every other part
//	manifest.sig             an SSH signature of the manifest (namespace "headway-bundle"); empty: there is none
//	history.bundle           a git bundle, all of history or what came since a commit
//	objects.json             the objects that the commit renders to, with digests
//	images/oci-layout        \
//	images/index.json         } an OCI image layout; blobs come after what names them
//	images/blobs/sha256/…    /
//
// Nothing else may be in it, so that no name leads out of a directory. Open
// reads the manifest only; Verify reads everything once and says what is wrong
// before anybody writes a byte.
package bundle
