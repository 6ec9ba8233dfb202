// Package registry makes a cluster its own registry: a node serves the images
// that it has to the other nodes, and asks them for what it lacks.
//
//	Server  GET, HEAD /v2/<name>/{manifests,blobs}/…?ns=<registry>   to nodes only, read only
//	Peers   which nodes have an image, and what a tag means among them
//	File    mirrors and credentials of registries, as k3s' registries.yaml
//
// What a peer says of content is never believed: the content has the digest that
// was asked for or is thrown away.
package registry
