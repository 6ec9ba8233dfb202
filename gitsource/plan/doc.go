// Package plan works out what a commit asks the API server for: the desired
// set against the inventory of what the source has applied, on one View. It is
// pure; the API server's verdict on the changes comes afterwards, from
// txn.Interface.
//
// The glossary: the desired set is what a commit renders to; the inventory is
// what the source has in the cluster, by object and not by file, so that
// moving a file is never a deletion; pruning is deleting what is in the
// inventory and no longer desired.
package plan
