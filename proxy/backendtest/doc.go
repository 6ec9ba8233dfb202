// Package backendtest holds every packet backend to the same answers: a table
// of packets, and random walks through states of Services and endpoints in
// which each packet's fate is compared with a slow and obvious reference that
// reads the API objects itself.
package backendtest
