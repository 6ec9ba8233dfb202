// Package etcd runs an etcd member inside this process, or connects to an etcd
// elsewhere. Both give the same client: the one in process calls the member
// directly, without a socket between.
//
// The member's client port is a unix socket of mode 0600 in its data directory,
// for tools; nothing of ours uses it. A member that is alone listens for no
// peers. The store above compacts history; the member does nothing on its own
// while nobody writes.
package etcd
