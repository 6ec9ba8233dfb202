// Package pki makes and keeps the cluster's certificate authorities, the
// certificates that they issue, and the service account signing key.
//
// Each trust has an authority of its own, so that a certificate for one
// purpose is worthless for another:
//
//	api-serving   what clients believe an API server by
//	client        people, components and nodes towards the API
//	node-serving  agents towards the API server (logs, exec)
//	etcd-peer     storage members among themselves
//	front-proxy   who may assert X-Remote-User
//
// Keys are ECDSA P-256. Authorities live ten years, certificates a year, and a
// Rotating certificate is renewed when a third of its life is left.
package pki
