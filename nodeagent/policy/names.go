package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/headway-sh/headway/internal/podgroup"
	"github.com/headway-sh/headway/nodeagent/network"
)

// Names of sets are at most 31 characters long, those of chains 28.
const hashLength = 12

// names are those of one family's sets and chains on one bridge.
type names struct {
	dispatch, ingress, egress, self string
	// sets is the prefix of all sets; isolated ones are named by direction.
	sets                              string
	isolatedIn, isolatedOut, isolated string
}

func namesOf(bridge string, ipv6 bool) names {
	chain, sets := network.PolicyChain(bridge), bridge+":4:"
	if ipv6 {
		sets = bridge + ":6:"
	}
	return names{dispatch: chain, ingress: chain + "-IN", egress: chain + "-OUT", self: chain + "-SELF",
		sets: sets, isolatedIn: sets + "in", isolatedOut: sets + "out", isolated: sets + "isolated"}
}

// ours tells whether a chain is one of this bridge's: another bridge's name may
// begin with this one's.
func (n names) ours(chain string) bool {
	return chain == n.dispatch || strings.HasPrefix(chain, n.dispatch+"-")
}

// isolatedTo is the set of this node's pods that are isolated in a direction.
func (n names) isolatedTo(d direction) string {
	if d == ingress {
		return n.isolatedIn
	}
	return n.isolatedOut
}

func hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])[:hashLength]
}

// policy is the chain of a policy's rules for one direction, and pods the set
// of this node's pods that it selects.
func (n names) policy(name string, d direction) string {
	return n.dispatch + "-" + hash(name, string(d))
}
func (n names) pods(name string, d direction) string { return n.sets + "pods:" + hash(name, string(d)) }

// own is the set of the selected pods' ports of one name.
func (n names) own(name, port string) string { return n.sets + "own:" + hash(name, port) }

// group is the set of a group's addresses, or of its members' ports of a name.
func (n names) group(key podgroup.Key, port string) string {
	if port == "" {
		return n.sets + "g:" + string(key)
	}
	return n.sets + "port:" + hash(string(key), port)
}

// block is the set of a range of addresses without its exceptions.
func (n names) block(text string) string { return n.sets + "ip:" + hash(text) }
