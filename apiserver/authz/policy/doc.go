// Package policy is the table of roles and bindings that every cluster starts
// with, under the names that Kubernetes documents, and brings a cluster's
// stored ones up to it: what is missing is added, what people added stays.
package policy
