// Package localnet switches whether the kernel routes loopback addresses, which
// node ports on 127.0.0.1 need. Whoever switches it on must first keep loopback
// addresses from coming in over links (CVE-2020-8558).
package localnet
