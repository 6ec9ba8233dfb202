package admission

import (
	"hash/fnv"
	"math/big"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

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

// addressPool is where addresses of Services come from.
type addressPool struct {
	// primary and secondary are the server's own ranges, of different families;
	// secondary is invalid where there is one family.
	primary, secondary netip.Prefix
}

// families are the cluster's, the preferred one first.
func (p addressPool) families() []corev1.IPFamily {
	all := []corev1.IPFamily{familyOf(p.primary.Addr())}
	if p.secondary.IsValid() {
		all = append(all, familyOf(p.secondary.Addr()))
	}
	return all
}

var serviceCIDRs = schema.GroupResource{Group: networkingv1.GroupName, Resource: "servicecidrs"}

// ranges are what there is of one family: the server's own range and those of
// the ServiceCIDRs, which decide about the request then.
func (p addressPool) ranges(view txn.View, r *write.Request, family corev1.IPFamily) []addressRange {
	var all []addressRange
	for _, own := range []netip.Prefix{p.primary, p.secondary} {
		if own.IsValid() && familyOf(own.Addr()) == family {
			all = append(all, addressRange{own})
		}
	}
	for o := range view.Each(serviceCIDRs, "") {
		c := o.(*networkingv1.ServiceCIDR)
		if c.DeletionTimestamp != nil {
			continue
		}
		for _, text := range c.Spec.CIDRs {
			prefix, err := netip.ParsePrefix(text)
			if err != nil || familyOf(prefix.Addr()) != family || slices.Contains(all, addressRange{prefix.Masked()}) {
				continue
			}
			all = append(all, addressRange{prefix.Masked()})
			r.Decide(txn.Ref{Resource: serviceCIDRs, Name: c.Name})
		}
	}
	return all
}

// free finds an address that nobody has. The first one of the server's own
// range is the API's.
func (p addressPool) free(view txn.View, r *write.Request, s *corev1.Service, family corev1.IPFamily) (netip.Addr, bool) {
	if r.Ref.Namespace == metav1.NamespaceDefault && r.Ref.Name == "kubernetes" && family == familyOf(p.primary.Addr()) {
		return addressRange{p.primary}.at(0), true
	}
	for _, a := range p.ranges(view, r, family) {
		if ip, ok := a.free(view, string(s.UID)+s.Namespace+"/"+s.Name); ok {
			return ip, true
		}
	}
	return netip.Addr{}, false
}

// addressRange is one range of addresses.
type addressRange struct{ prefix netip.Prefix }

func rangesText(all []addressRange) string {
	texts := make([]string, len(all))
	for i, a := range all {
		texts[i] = a.prefix.String()
	}
	return strings.Join(texts, ", ")
}

// offers tells whether the range has the address to give: not the network's
// own and, of IPv4, not its broadcast address.
func (a addressRange) offers(ip netip.Addr) bool {
	return a.prefix.Contains(ip) && ip != a.prefix.Addr() && (ip.Is6() || ip != last(a.prefix))
}

func addressRef(ip netip.Addr) txn.Ref { return txn.Ref{Resource: ipAddresses, Name: ip.String()} }

// free finds an address of the range that nobody has.
func (a addressRange) free(view txn.View, seed string) (netip.Addr, bool) {
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
	offset, ok := search(size-2, seed, func(offset uint32) bool {
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
