package rules

import (
	"context"
	"net/netip"
	"slices"

	"github.com/headway-sh/headway/proxy/model"
)

// Frontend is what clients connect to.
type Frontend struct {
	// IP is invalid for a node port, which is every address of the node.
	IP       netip.Addr
	Protocol string
	Port     uint16
}

// Action is what happens to a packet's connection.
type Action struct {
	// To are the endpoints, one of which is chosen evenly; none: the connection
	// is refused as the row says.
	To []netip.AddrPort
	// Masquerade gives the connection the node's address as its source.
	Masquerade bool
}

// Refusal is how clients learn that no endpoint is for them.
type Refusal int

// Refusals.
const (
	// Reject tells the client at once: nobody serves the service.
	Reject Refusal = iota
	// Drop stays silent: others serve it, or the client is not let in.
	Drop
)

// Row is what a node does with the packets to one Frontend.
type Row struct {
	Frontend
	// ID names the service port for people.
	ID string
	// Internal says that IP is a cluster IP: Pods are not masqueraded, everybody
	// else is, and all go to the same endpoints.
	Internal bool
	// Ranges are the sources that are let in; none: all.
	Ranges []netip.Prefix
	// AffinitySeconds keeps a client at its endpoint for so long; 0: no affinity.
	AffinitySeconds int
	// Pods, Host and World say what happens to connections from the cluster's
	// pods, from this node and from elsewhere.
	Pods, Host, World Action
	Refusal           Refusal
}

// Update is the newest state of one Service.
type Update struct {
	// Key names the Service. Rows are none when it is gone.
	Key  string
	Rows []Row
	// Local are its endpoints on this node: one that reaches itself through the
	// service is masqueraded, or it would answer itself directly.
	Local []netip.Addr
}

// Backend keeps the rules of one address family in a kernel. It is used by one
// goroutine.
type Backend interface {
	// Set notes the newest state of a Service; the kernel learns of it with the
	// next Sync.
	Set(Update)
	// Sync makes the kernel's rules what has been set. The first one, and the
	// first after an error, repairs whatever else it finds of ours.
	Sync(context.Context) error
}

// Rows gives the rows of a service port.
func Rows(p *model.ServicePort) []Row {
	refusal := Reject
	if len(p.Cluster) > 0 {
		refusal = Drop
	}
	inside := p.Cluster
	if p.InternalLocal {
		inside = p.Local
	}
	front := func(ip netip.Addr, port uint16) Row {
		return Row{Frontend: Frontend{IP: ip, Protocol: p.Protocol, Port: port}, ID: p.ID(), AffinitySeconds: p.AffinitySeconds, Refusal: refusal}
	}
	row := front(p.ClusterIP, p.Number)
	row.Internal = true
	row.Pods, row.Host, row.World = Action{To: inside}, Action{To: inside, Masquerade: true}, Action{To: inside, Masquerade: true}
	rows := []Row{row}
	outside := func(row Row) {
		all := Action{To: p.Cluster, Masquerade: true}
		row.Pods, row.Host, row.World = all, all, all
		if p.ExternalLocal {
			// The policy is about clients from outside: those inside are not held to
			// it, and pods keep their address.
			row.Pods, row.World = Action{To: p.Cluster}, Action{To: p.Local}
		}
		rows = append(rows, row)
	}
	for _, ip := range p.External {
		outside(front(ip, p.Number))
	}
	for _, ip := range p.Balancer {
		row := front(ip, p.Number)
		row.Ranges = p.Ranges
		outside(row)
	}
	if p.NodePort != 0 {
		outside(front(netip.Addr{}, p.NodePort))
	}
	return rows
}

// ClusterIPs are the cluster IPs of the rows. What comes to one of them and is
// for none of its ports is refused: it would leave the node for who knows where.
func (u *Update) ClusterIPs() (ips []netip.Addr) {
	for i := range u.Rows {
		if r := &u.Rows[i]; r.Internal && !slices.Contains(ips, r.IP) {
			ips = append(ips, r.IP)
		}
	}
	return ips
}

// UpdateOf makes the Update of a Service's ports; rows without a backend's
// concern, such as those of addresses that this node answers itself, are left
// out by own.
func UpdateOf(key string, ports []model.ServicePort, own []netip.Addr) Update {
	u := Update{Key: key}
	for i := range ports {
		p := &ports[i]
		if slices.Contains(own, p.ClusterIP) {
			continue
		}
		u.Rows = append(u.Rows, Rows(p)...)
		for _, to := range p.Local {
			u.Local = append(u.Local, to.Addr())
		}
	}
	slices.SortFunc(u.Local, netip.Addr.Compare)
	u.Local = slices.Compact(u.Local)
	return u
}
