// Package storageprotection lets claims and volumes that are being deleted go
// when nobody uses them any more. It writes two finalizers:
//
//	kubernetes.io/pvc-protection   of claims, until no pod on a node has them
//	kubernetes.io/pv-protection    of volumes, until no claim is bound to them
//
// The API server puts them on new objects; older ones get them here.
package storageprotection
