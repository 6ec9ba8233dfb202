package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// leases are the addresses in use: a file for each, named by the address, that
// holds the pod's UID. A file is made with O_EXCL, so that no address is ever
// given twice.
type leases struct {
	dir  string
	cidr netip.Prefix

	mu   sync.Mutex // guards below
	by   map[types.UID]netip.Addr
	used map[netip.Addr]bool
	last netip.Addr
}

func openLeases(dir string, cidr netip.Prefix) (*leases, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open addresses: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open addresses: %w", err)
	}
	l := &leases{dir: dir, cidr: cidr.Masked(), by: map[types.UID]netip.Addr{}, used: map[netip.Addr]bool{}, last: gateway(cidr)}
	for _, e := range entries {
		address, err := netip.ParseAddr(e.Name())
		if err != nil {
			continue // not ours
		}
		uid, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("open addresses: %w", err)
		}
		if len(uid) == 0 || !l.cidr.Contains(address) {
			// A crash between making and writing it, or an older range.
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, fmt.Errorf("open addresses: %w", err)
			}
			continue
		}
		l.by[types.UID(strings.TrimSpace(string(uid)))] = address
		l.used[address] = true
	}
	return l, nil
}

// leased reads who had which address when the directory was written last.
func leased(dir string, to map[types.UID][]netip.Addr) error {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read addresses: %w", err)
	}
	for _, e := range entries {
		address, err := netip.ParseAddr(e.Name())
		if err != nil {
			continue // not ours
		}
		uid, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return fmt.Errorf("read addresses: %w", err)
		}
		if pod := types.UID(strings.TrimSpace(string(uid))); pod != "" {
			to[pod] = append(to[pod], address)
		}
	}
	return nil
}

// take gives the pod's address, a new one if it has none. Freed addresses are
// used again as late as possible.
func (l *leases) take(uid types.UID) (netip.Addr, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if address, ok := l.by[uid]; ok {
		return address, nil
	}
	first := gateway(l.cidr)
	for at := l.next(l.last); ; at = l.next(at) {
		if at != first && !l.used[at] {
			if err := l.write(at, uid); err == nil {
				l.by[uid], l.used[at], l.last = at, true, at
				return at, nil
			} else if !errors.Is(err, os.ErrExist) {
				return netip.Addr{}, fmt.Errorf("take address: %w", err)
			}
		}
		if at == l.last {
			return netip.Addr{}, fmt.Errorf("take address: none is free in %s", l.cidr)
		}
	}
}

// of gives the address that the pod has.
func (l *leases) of(uid types.UID) (netip.Addr, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	address, ok := l.by[uid]
	return address, ok
}

func (l *leases) write(address netip.Addr, uid types.UID) error {
	file, err := os.OpenFile(filepath.Join(l.dir, address.String()), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(string(uid))
	return errors.Join(err, file.Close())
}

// next is the address after a, around the range without its first and last.
func (l *leases) next(a netip.Addr) netip.Addr {
	a = a.Next()
	if !l.cidr.Contains(a) || !l.cidr.Contains(a.Next()) {
		return gateway(l.cidr)
	}
	return a
}

func (l *leases) release(uid types.UID) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	address, ok := l.by[uid]
	if !ok {
		return nil
	}
	if err := os.Remove(filepath.Join(l.dir, address.String())); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("free address: %w", err)
	}
	delete(l.by, uid)
	delete(l.used, address)
	return nil
}

// gateway is the first address of a range: the bridge's.
func gateway(cidr netip.Prefix) netip.Addr { return cidr.Masked().Addr().Next() }

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
