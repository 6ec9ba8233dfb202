// Package conntrack ends the kernel's memory of UDP clients whose endpoint is no
// longer one of their Service's. A UDP client that goes on sending would
// otherwise be sent to the old endpoint for as long as it does.
package conntrack
