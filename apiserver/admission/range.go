package admission

import (
	"hash/fnv"
	"math/big"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

// Addresses that people choose themselves are mostly low: the lower part of a
// range, this many at most, is given out only when the rest is full.
const (
	lowestBand  = 16
	highestBand = 256
	// countable bounds how much of a large range is searched.
	countable = 1 << 20
)

// band is how many offsets at a range's start are left for people.
func band(size uint32) uint32 {
	if size < lowestBand {
		return 0
	}
	return min(max(size/lowestBand, lowestBand), highestBand)
}

// search goes through the offsets of a range from a place that follows from
// the seed, the upper part first, until free says yes.
func search(size uint32, seed string, free func(offset uint32) bool) (uint32, bool) {
	low := band(size)
	h := fnv.New32a()
	_, _ = h.Write([]byte(seed)) // a hash never fails
	for _, part := range [][2]uint32{{low, size - low}, {0, low}} {
		from, n := part[0], part[1]
		for i := range n {
			if offset := from + (h.Sum32()%n+i)%n; free(offset) {
				return offset, true
			}
		}
	}
	return 0, false
}

// free finds an address that nobody has. The first one is the API's own.
func (a addressRange) free(view txn.View, r *write.Request, s *corev1.Service) (netip.Addr, bool) {
	if r.Ref.Namespace == metav1.NamespaceDefault && r.Ref.Name == "kubernetes" {
		return a.at(0), true
	}
	bits := a.prefix.Addr().BitLen() - a.prefix.Bits()
	size := uint32(countable)
	if bits < 20 {
		size = 1 << bits
	}
	if size <= 3 {
		return netip.Addr{}, false
	}
	// Without the network's own address and the last one; offset 0 is the
	// address after the network's, which belongs to the API.
	offset, ok := search(size-2, string(s.UID)+s.Namespace+"/"+s.Name, func(offset uint32) bool {
		if offset == 0 {
			return false
		}
		_, taken := view.Get(addressRef(a.at(offset)))
		return !taken
	})
	return a.at(offset), ok
}

// at is the address at an offset behind the network's own.
func (a addressRange) at(offset uint32) netip.Addr {
	n := new(big.Int).SetBytes(a.prefix.Addr().AsSlice())
	n.Add(n, big.NewInt(int64(offset)+1))
	b := n.FillBytes(make([]byte, a.prefix.Addr().BitLen()/8))
	ip, _ := netip.AddrFromSlice(b) // its length is right
	return ip
}

// last is the highest address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	ip, _ := netip.AddrFromSlice(b) // its length is right
	return ip
}
