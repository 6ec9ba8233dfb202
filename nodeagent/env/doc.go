// Package env says what a container finds in its environment: variables from
// the pod's spec, from ConfigMaps and Secrets, from the pod's own fields and
// from the Services of its namespace.
package env
