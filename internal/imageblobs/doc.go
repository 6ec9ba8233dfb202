// Package imageblobs reads images as the blobs that they are made of: from a
// node's content store, or from archives. It runs and unpacks nothing.
package imageblobs
