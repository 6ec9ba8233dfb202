package backendtest

import (
	"net/netip"

	"github.com/headway-sh/headway/proxy/rules"
)

// Packet is the first packet of a connection.
type Packet struct {
	Src      netip.Addr
	Dst      netip.AddrPort
	Protocol string
	// Wire says that it came over a link, not from this machine.
	Wire bool
}

// Fate is what happens to it.
type Fate struct {
	// To is where it goes in the end.
	To netip.AddrPort
	// Masqueraded says that its source becomes the node's.
	Masqueraded bool
	// Rejected says that the sender is told that nobody is there, Dropped that
	// it is told nothing.
	Rejected, Dropped bool
}

// Facts is the machine that a backend is to serve.
type Facts struct {
	// Local are the machine's addresses, 127.0.0.1 apart.
	Local []netip.Addr
	// Cluster holds the pods' addresses.
	Cluster netip.Prefix
	// Localhost says that node ports answer on 127.0.0.1.
	Localhost bool
}

// Machine is a backend on an emulated kernel.
type Machine interface {
	rules.Backend
	// Send runs a packet through the rules. choose is asked for every choice of
	// one in n and tells whether this one is taken.
	Send(p Packet, choose func(n int) bool) Fate
	// Restart forgets all that the backend remembers; the kernel keeps its rules.
	Restart()
	// FailNext makes the next write to the kernel fail.
	FailNext()
	// Leftovers counts what the kernel holds beyond what a fresh one that was set
	// the same would.
	Leftovers(fresh Machine) int
}

// Outcomes gives every fate that a packet may have, with its probability. It
// sends the packet once for each.
func Outcomes(m Machine, p Packet) map[Fate]float64 {
	out := map[Fate]float64{}
	var script []bool
	for {
		probability, step := 1.0, 0
		fate := m.Send(p, func(n int) bool {
			if step == len(script) {
				script = append(script, true)
			}
			taken := script[step]
			step++
			one := 1 / float64(n)
			if !taken {
				one = 1 - one
			}
			probability *= one
			return taken
		})
		if probability > 0 {
			out[fate] += probability
		}
		// The next script in order: the last choice that was taken is not.
		script = script[:step]
		for len(script) > 0 && !script[len(script)-1] {
			script = script[:len(script)-1]
		}
		if len(script) == 0 {
			return out
		}
		script[len(script)-1] = false
	}
}
