package backendtest

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/headway-sh/headway/proxy/rules"
)

// writes is how many changes are measured.
const writes = 60

// cpu is what this process and its children have used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var sum time.Duration
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if err := unix.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}

// BenchmarkWrites is the first write of 10,000 Services of two endpoints to a
// network namespace, and then one endpoint that goes and comes: how long they
// take, and how much of a processor, which other load does not change as much.
func BenchmarkWrites(b *testing.B, space string, backend rules.Backend) {
	write := func(updates ...rules.Update) (took, busy time.Duration) {
		begun, before := time.Now(), cpu(b)
		for _, u := range updates {
			backend.Set(u)
		}
		if err := Within(space, func() error { return backend.Sync(b.Context()) }); err != nil {
			b.Fatal(err)
		}
		return time.Since(begun), cpu(b) - before
	}
	for range b.N {
		full, fullBusy := write(Many(10000)...)
		var took []time.Duration
		var busy time.Duration
		for n := range writes {
			u := Plain(77, "10.244.0.9:8080")
			if n%2 == 1 {
				u = Plain(77, "10.244.0.9:8080", "10.244.1.10:8080")
			}
			t, c := write(u)
			took, busy = append(took, t), busy+c
		}
		slices.Sort(took)
		ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
		b.ReportMetric(full.Seconds(), "full-s")
		b.ReportMetric(fullBusy.Seconds(), "full-cpu-s")
		b.ReportMetric(ms(took[writes/2]), "one-p50-ms")
		b.ReportMetric(ms(took[writes*99/100]), "one-p99-ms")
		b.ReportMetric(ms(busy/writes), "one-cpu-ms")
		for i := range 10000 {
			backend.Set(rules.Update{Key: Plain(i).Key})
		}
		write()
	}
}

// connections is how many are measured of each kind.
const connections = 2000

// BenchmarkConnect compares a new connection through the last of 10,000
// Services with one through the only Service.
func BenchmarkConnect(b *testing.B, space string, backend rules.Backend) {
	only, last := Plain(9999, "10.244.0.9:8080"), Plain(9999, "10.244.0.9:8080").Rows[0]
	target := fmt.Sprintf("%s:%d", last.IP, last.Port)
	err := Within(space, func() error {
		listener, err := loopback()
		if err != nil {
			return err
		}
		defer listener.Close()
		go func() {
			for c, err := listener.Accept(); err == nil; c, err = listener.Accept() {
				_ = c.Close() // the client has gone already
			}
		}()
		for range b.N {
			backend.Set(only)
			alone, err := connect(b, backend, target)
			if err != nil {
				return err
			}
			for _, u := range Many(9999) {
				backend.Set(u)
			}
			crowded, err := connect(b, backend, target)
			if err != nil {
				return err
			}
			b.ReportMetric(float64(alone.Nanoseconds())/1000, "alone-µs")
			b.ReportMetric(float64(crowded.Nanoseconds())/1000, "last-of-10000-µs")
			b.ReportMetric(float64(crowded)/float64(alone), "ratio")
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// loopback makes this namespace route service addresses to itself, and listens
// at the endpoint.
func loopback() (net.Listener, error) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return nil, err
	}
	address, err := netlink.ParseAddr("10.244.0.9/32")
	if err != nil {
		return nil, err
	}
	if err := netlink.AddrAdd(lo, address); err != nil {
		return nil, err
	}
	_, services, err := net.ParseCIDR("10.96.0.0/12")
	if err != nil {
		return nil, err
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: services}); err != nil {
		return nil, err
	}
	return net.Listen("tcp", "10.244.0.9:8080")
}

// connect is the median of many connections, after the rules are there.
func connect(b *testing.B, backend rules.Backend, target string) (time.Duration, error) {
	if err := backend.Sync(b.Context()); err != nil {
		return 0, err
	}
	took := make([]time.Duration, connections)
	for i := range took {
		// One's own goroutine's thread is in the namespace: no other may dial.
		begun := time.Now()
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return 0, err
		}
		to, err := net.ResolveTCPAddr("tcp", target)
		if err != nil {
			return 0, err
		}
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}); err != nil {
			return 0, fmt.Errorf("connect to %s: %w", target, err)
		}
		took[i] = time.Since(begun)
		if err := unix.Close(fd); err != nil {
			return 0, err
		}
	}
	slices.Sort(took)
	return took[connections/2], nil
}
